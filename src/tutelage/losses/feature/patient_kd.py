"""Sun, Cheng, Gan, Liu: patient distillation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Feature, require_same_shape
from tutelage.losses.functional.tokens import as_tokens


class PatientKD(Feature):
    r"""Match the direction of the class token in several layers.

    L = ‖s₀/‖s₀‖ − t₀/‖t₀‖‖², one value per sample; x₀ is the token at position 0.

    Shapes: student, teacher (B, N, D) of equal D; returns (B,). Pairs of layers aren't averaged: their terms are
    summed.
    Paper: Sun, Cheng, Gan, Liu. EMNLP 2019. arXiv:1908.09355, eq. 7.
    """

    paper = "Sun, Cheng, Gan, Liu. EMNLP 2019. arXiv:1908.09355"
    feature_format = ""
    ignores = ("scale of each sample", "swapped sides")

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        s, t = as_tokens(student)[:, 0], as_tokens(teacher)[:, 0]
        require_same_shape(self, s, t)
        return (F.normalize(s, dim=1) - F.normalize(t, dim=1)).pow(2).sum(1)
