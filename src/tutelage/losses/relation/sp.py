"""Tung, Mori: which samples look alike."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Relation


class SP(Relation):
    r"""Match how similar the samples of a batch are to each other.

    G = F·Fᵀ of the flattened features, its rows made unit length;
    L = ‖G(t) − G(s)‖² / B², of which each sample has its row.

    Shapes: student (B, …), teacher (B, …); returns (B,). A batch of one gives 0.
    Paper: Tung, Mori. ICCV 2019. arXiv:1907.09682, eq. 2–4. Weight 3000 as in the paper.
    """

    paper = "Tung, Mori. ICCV 2019. arXiv:1907.09682"
    compares = "last"
    feature_format = ""
    ignores = ("scale", "rotation", "swapped sides")
    default_weight = 3000.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (similarity(student) - similarity(teacher)).pow(2).mean(1)


def similarity(feature: Tensor) -> Tensor:
    """(B, …) → (B, B), rows of unit length."""
    flat = feature.flatten(1)
    return F.normalize(flat @ flat.T, dim=1)
