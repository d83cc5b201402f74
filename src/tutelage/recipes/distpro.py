"""DistPro: the weights of all paths between layers are learned, in training, from samples held out.

Paper: Deng, Sun, Newsam, Wang. ECCV 2022. arXiv:2204.05547. The weight of 1 and μ are ours; 1 did
best of 1, 10 and 100 on the digits.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Every pair of stages, a tenth of the training samples as the quiz."""
    return {"scheme": "distpro", "method": [{"name": "distpro"}]}
