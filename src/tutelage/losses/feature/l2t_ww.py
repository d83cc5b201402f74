"""Jang, Lee, Hwang, Shin: pairs of layers and channels, with weights that a scheme learns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.losses.base import Feature
from tutelage.nn.maps import average_positions, conv, dimensions_of, interpolate


class L2TWW(Feature):
    r"""Match every layer of the student with every layer of the teacher, with weights per pair and per channel.

    L = Σ_ij λ_ij · Σ_c w_ijc · mean_hw (r_ij(s_i) − t_j)²_c, one value per sample; r_ij a 1×1 convolution.

    Shapes: student, teacher lists of maps (B, C, H, W); if a pair differs in size, the teacher's map is resized
    bilinearly to the student's, whether larger or smaller. pair_weights λ (B, I, J) and channel_weights w, a list of
    (B, I, C) for the teacher's layers: scheme=l2t_ww learns both. Returns (B,).
    Paper: Jang, Lee, Hwang, Shin. ICML 2019. arXiv:1905.05901, eq. 3; weight 0.5 and the sizes as in the authors' code.
    """

    name = "l2t_ww"
    paper = "Jang, Lee, Hwang, Shin. ICML 2019. arXiv:1905.05901"
    compares = "review"
    zero_at_equal = False
    default_weight = 0.5

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        self.regressors = regressors(student, teacher)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        """Return two layers on each side."""
        student, teacher = ([torch.randn(6, 5, side, side) for side in (8, 4)] for _ in range(2))
        channels = [torch.rand(6, 2, 5).softmax(2) for _ in teacher]
        return student, teacher, {"pair_weights": torch.rand(6, 2, 2), "channel_weights": channels}

    def forward(
        self,
        student: list[Tensor],
        teacher: list[Tensor],
        *,
        pair_weights: Tensor,
        channel_weights: list[Tensor],
    ) -> Tensor:
        values = []
        for i, s in enumerate(student):
            for j, t in enumerate(teacher):
                errors = average_positions((self.regressors[f"{i}_{j}"](s) - resized_like(t, s)).pow(2))
                values.append(pair_weights[:, i, j] * (channel_weights[j][:, i] * errors).sum(1))
        return torch.stack(values).sum(0)


def regressors(student: list[Tensor], teacher: list[Tensor]) -> nn.ModuleDict:
    """Build a 1×1 convolution from each of the student's layers to each of the teacher's."""
    return nn.ModuleDict(
        {
            f"{i}_{j}": conv(dimensions_of(s), s.shape[1], t.shape[1])
            for i, s in enumerate(student)
            for j, t in enumerate(teacher)
        }
    ).to(student[0])


def resized_like(teacher: Tensor, student: Tensor) -> Tensor:
    """Resize the teacher's map to the student's size."""
    size = student.shape[2:]
    return teacher if teacher.shape[2:] == size else interpolate(teacher, size)
