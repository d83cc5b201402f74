"""DistPro: the weights of all paths between layers are learned, in training, from samples held out.

Paper: Deng, Sun, Newsam, Wang. ECCV 2022. arXiv:2204.05547. The weight of 1 is ours, and so are features after the
stages; the authors take them before the ReLU, as the layers named `LAYER:in`.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Learn paths from teacher stages to equally deep or deeper student stages; a tenth of the samples is the quiz."""
    return {"scheme": "distpro", "method": [{"name": "distpro"}]}
