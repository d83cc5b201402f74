"""Feng, Sun, Diao, Li, Gao: double similarity distillation."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Feature, require_equal_counts, require_same_shape
from tutelage.losses.feature.at import attention
from tutelage.nn.maps import adaptive_avg_pool, avg_pool
from tutelage.utils.options import NonNegative


class DSD(Feature):
    r"""Match the changes of attention between layers, and the similarities between the classes' maps.

    "psd": w_psd · (r(s) − r(t))², r = unit(A(f_n) − A(f_m)) of every two layers m < n, A the attention map of AT;
    "csd": w_csd · (P_s·P_sᵀ − P_t·P_tᵀ)², P_c = softmax over positions of z_c/4, z the last maps average-pooled 2×2.

    Shapes: student and teacher lists of maps, shallow to deep, the last of them the class scores (B, K, H, W). For
    attention all maps are average-pooled to the smallest. The parts are (pairs, B, H·W) and (B, K, K); with one layer
    there is no "psd".
    Paper: Feng, Sun, Diao, Li, Gao. IEEE TIP 2021. arXiv:2107.08591. Weights as in CIRKD's implementation.
    Raises: ConfigError if the lists differ in length or the last maps in shape.
    """

    paper = "Feng, Sun, Diao, Li, Gao. IEEE TIP 2021. arXiv:2107.08591"
    compares = "review"
    ignores = ("order of channels", "swapped sides")

    psd_weight: NonNegative = 1000.0
    csd_weight: NonNegative = 10.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        student, teacher = ([torch.randn(6, 5, side, side) for side in (8, 4, 4)] for _ in range(2))
        return student, teacher, {}

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> dict[str, Tensor]:
        require_equal_counts(self, student, teacher)
        require_same_shape(self, student[-1], teacher[-1])
        csd = (class_similarity(student[-1]) - class_similarity(teacher[-1])).pow(2)
        losses = {"csd": self.csd_weight * csd}
        if len(student) > 1:
            size = tuple(min(sides) for sides in zip(*(x.shape[2:] for x in student + teacher), strict=True))
            losses["psd"] = self.psd_weight * (residuals(student, size) - residuals(teacher, size)).pow(2)
        return losses


def residuals(layers: list[Tensor], size: tuple[int, ...]) -> Tensor:
    """Return the normalised change in attention between every two layers, (pairs, B, H·W)."""
    maps = [attention(adaptive_avg_pool(layer, size)) for layer in layers]
    return torch.stack([F.normalize(b - a, dim=1) for a, b in combinations(maps, 2)])


def class_similarity(scores: Tensor) -> Tensor:
    """Return the products of the classes' distributions over positions, (B, K, H, W) → (B, K, K)."""
    maps = avg_pool(scores, 2, ceil_mode=True).flatten(2)
    maps = (maps / 4).softmax(2)
    return maps @ maps.mT
