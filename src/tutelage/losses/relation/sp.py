"""Tung, Mori: similarity between samples."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Relation


class SP(Relation):
    r"""Match the similarities between the samples of a batch.

    G = F·Fᵀ of the flattened features, its rows normalised to unit length;
    L = ‖G(t) − G(s)‖² / B², with one row for each sample.

    Shapes: student (B, …), teacher (B, …); returns (B,). A batch of one gives 0.
    Paper: Tung, Mori. ICCV 2019. arXiv:1907.09682, eq. 2–4. The weight 3000 is the paper's.
    """

    paper = "Tung, Mori. ICCV 2019. arXiv:1907.09682"
    compares = "last"
    feature_format = ""
    ignores = ("scale", "rotation", "swapped sides")
    default_weight = 3000.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (similarity(student) - similarity(teacher)).pow(2).mean(1)


def similarity(feature: Tensor) -> Tensor:
    """The similarity matrix G with rows of unit length: (B, …) → (B, B)."""
    flat = feature.flatten(1)
    return F.normalize(flat @ flat.T, dim=1)
