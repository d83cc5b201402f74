"""Yang, Li, Shao, Shi, Yuan, Yuan: masked generative distillation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tutelage.losses.base import Feature
from tutelage.losses.functional.distances import sum_by_sample
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.nn.blocks import conv_relu_conv
from tutelage.nn.maps import conv, dimensions_of
from tutelage.utils.options import FractionBelowOne


class MGD(Feature):
    r"""Generate the teacher's complete map from the student's partly masked map.

    L = Σ_elements (G(W·s · [u ≥ λ]) − t)², one value per sample; u uniform in [0, 1), G two 3×3 convolutions with a
    ReLU between, W a 1×1 convolution if the channels differ.

    masked: λ, the masked fraction. mask: "channels" for classification, "positions" for dense tasks.
    Shapes: student (B, C, H, W), teacher (B, C', H', W'); the larger is average-pooled to the smaller. Returns (B,),
    sums over elements, hence the small weight. rand (B, C', 1, 1) or (B, 1, H, W) gives u instead of torch's generator.
    Paper: Yang, Li, Shao, Shi, Yuan, Yuan. ECCV 2022. arXiv:2205.01529, eq. 1–5; λ and weight are those for
    classification. Detection uses positions, λ from 0.45 to 0.65 and 2e-5.
    Raises: ConfigError if masked isn't in [0, 1) or mask is unknown.
    """

    paper = "Yang, Li, Shao, Shi, Yuan, Yuan. ECCV 2022. arXiv:2205.01529"
    compares = "last"
    zero_at_equal = False
    permutation_invariant = False
    default_weight = 7e-5

    masked: FractionBelowOne = 0.15
    mask: Literal["channels", "positions"] = "channels"

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        dimensions, channels = dimensions_of(student), (student.shape[1], teacher.shape[1])
        self.align = (nn.Identity() if channels[0] == channels[1] else conv(dimensions, *channels)).to(student)
        self.generation = conv_relu_conv(dimensions, channels[1]).to(student)

    def forward(self, student: Tensor, teacher: Tensor, *, rand: Tensor | None = None) -> Tensor:
        student, teacher = pool_to_smaller(student, teacher)
        student = self.align(student)
        if rand is None:
            batch, channels, *size = student.shape
            shape = (batch, channels, *[1] * len(size)) if self.mask == "channels" else (batch, 1, *size)
            rand = torch.rand(shape, device=student.device)
        return sum_by_sample((self.generation(student * (rand >= self.masked)) - teacher).pow(2))
