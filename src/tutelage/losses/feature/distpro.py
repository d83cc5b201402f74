"""Deng, Sun, Newsam, Wang: which layers to distil along, by weights that others learn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Feature
from tutelage.losses.feature.l2t_ww import regressors
from tutelage.losses.maps import same_size


class DistPro(Feature):
    r"""Match every layer of the student with every layer of the teacher, each path as much as its weight says.

    L = Σ_ij α_ij · mean (r_ij(s_i) − t_j)², one value per sample; r_ij a 1×1 convolution.

    Shapes: student, teacher lists of maps (B, C, H, W); the larger of a pair is average-pooled to the smaller.
    pair_weights α (B, I, J), which scheme=distpro learns. Returns (B,).
    Paper: Deng, Sun, Newsam, Wang. ECCV 2022. arXiv:2204.05547; the transforms and the weight of 1 are ours. No
    published numbers were compared.
    """

    name = "distpro"
    paper = "Deng, Sun, Newsam, Wang. ECCV 2022. arXiv:2204.05547"
    sees = "review"
    zero_at_equal = False

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        self.regressors = regressors(student, teacher)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        """Two layers on each side."""
        student, teacher = ([torch.randn(6, 5, side, side) for side in (8, 4)] for _ in range(2))
        return student, teacher, {"pair_weights": torch.rand(6, 2, 2)}

    def forward(self, student: list[Tensor], teacher: list[Tensor], *, pair_weights: Tensor) -> Tensor:
        values = []
        for i, s in enumerate(student):
            for j, t in enumerate(teacher):
                ours, theirs = same_size(s, t)
                errors = (self.regressors[f"{i}_{j}"](ours) - theirs).pow(2).mean((1, 2, 3))
                values.append(pair_weights[:, i, j] * errors)
        return torch.stack(values).sum(0)
