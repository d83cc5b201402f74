"""DistPro: the weights of all paths between layers are learned, in training, from samples held out.

Paper: Deng, Sun, Newsam, Wang. ECCV 2022. arXiv:2204.05547. The weight of 1 is ours, and stages as they come;
the authors' are from before the ReLU, as layers that are named `LAYER:in` are.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Paths from each stage of the teacher to no shallower ones of the student, a tenth of the samples as the quiz."""
    return {"scheme": "distpro", "method": [{"name": "distpro"}]}
