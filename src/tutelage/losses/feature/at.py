"""Zagoruyko, Komodakis: attention transfer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Feature
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.utils.options import Power


class AT(Feature):
    r"""Match the normalised spatial attention maps of paired layers.

    A(f) = flatten(mean_c f^p) / ‖·‖₂;  L = (A(s) − A(t))², one value per sample and position.

    Shapes: student (B, C, H, W), teacher (B, C', H', W'); the larger map is average-pooled to the smaller first.
    Returns (B, H·W). Its mean over positions is tiny, hence the usual weight of 1000.
    Paper: Zagoruyko, Komodakis. ICLR 2017. arXiv:1612.03928, eq. 2. The paper takes the norm ‖A(s) − A(t)‖₂; the
    authors' code, which gave the published numbers and is followed here, takes the mean square.
    Raises: ConfigError if p isn't above 0.
    """

    paper = "Zagoruyko, Komodakis. ICLR 2017. arXiv:1612.03928"
    ignores = ("scale of each sample", "order of channels", "swapped sides")
    default_weight = 1000.0

    p: Power = 2

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = pool_to_smaller(student, teacher)
        return (attention(student, self.p) - attention(teacher, self.p)).pow(2)


def attention(feature: Tensor, p: int = 2) -> Tensor:
    """Return the attention map of unit length, (B, C, H, W) → (B, H·W)."""
    return F.normalize(feature.pow(p).mean(1).flatten(1), dim=1)
