"""Deng, Sun, Newsam, Wang: distillation paths between layers, with weights that a scheme learns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.losses.base import Feature
from tutelage.losses.feature.hcl import hierarchical_context
from tutelage.losses.feature.l2t_ww import regressors
from tutelage.losses.functional.feature_maps import pool_to_smaller


class DistPro(Feature):
    r"""Match the student's layers with the teacher's layers that are no deeper, each path with its own weight.

    L = Σ_{i ≥ j} α_ij · HCL(r_ij(s_i), t_j), one value per sample; r_ij a 1×1 convolution.

    Shapes: student, teacher lists of maps (B, C, H, W), shallow to deep; the larger of a pair is average-pooled to the
    smaller. pair_weights α (B, I, J), which scheme=distpro learns; those of i < j are ignored. Returns (B,).
    Paper: Deng, Sun, Newsam, Wang. ECCV 2022. arXiv:2204.05547: paths and comparison are as in the authors' code; the
    transforms, the weight of 1 and the stages' outputs, after ReLU if the network has one there, are Tutelage's; the
    authors take features from before it, as layers named `LAYER:in` do. No published numbers were compared.
    """

    name = "distpro"
    paper = "Deng, Sun, Newsam, Wang. ECCV 2022. arXiv:2204.05547"
    compares = "review"
    harmed_on = "digits"
    zero_at_equal = False

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        pair_regressors = regressors(student, teacher)
        self.regressors = nn.ModuleDict({f"{i}_{j}": pair_regressors[f"{i}_{j}"] for i, j in paths(student, teacher)})

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        """Return two layers on each side."""
        student, teacher = ([torch.randn(6, 5, side, side) for side in (8, 4)] for _ in range(2))
        return student, teacher, {"pair_weights": torch.rand(6, 2, 2)}

    def forward(self, student: list[Tensor], teacher: list[Tensor], *, pair_weights: Tensor) -> Tensor:
        values = []
        for i, j in paths(student, teacher):
            s, t = pool_to_smaller(student[i], teacher[j])
            values.append(pair_weights[:, i, j] * hierarchical_context(self.regressors[f"{i}_{j}"](s), t))
        return torch.stack(values).sum(0)


def paths(student: list[Tensor], teacher: list[Tensor]) -> list[tuple[int, int]]:
    """Return the pairs (i, j) in which the student's layer is at least as deep, by index, as the teacher's."""
    return [(i, j) for i in range(len(student)) for j in range(len(teacher)) if i >= j]
