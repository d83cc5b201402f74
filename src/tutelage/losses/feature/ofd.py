"""Heo, Kim, Yun, Park, Kwak, Choi: an overhaul of feature distillation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tutelage.losses.base import Feature, require_equal_counts
from tutelage.losses.functional.distances import sum_by_sample
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.nn.blocks import conv_bn
from tutelage.nn.maps import dimensions_of


class OFD(Feature):
    r"""Match features from before the ReLU, except where both sides are inactive.

    x = BN(W·s), W a 1×1 convolution;  t' = max(t, m_c), m_c the mean of channel c's negative responses;
    L = Σ_l 2^(l − n) · Σ_elements (x − t')²·[x > t' or t' > 0], l = 1 … n; one value per sample.

    Shapes: student, teacher lists of maps (B, C, H, W), shallow to deep, from before the ReLU (a layer's input is named
    `LAYER:in`); the larger of a pair is average-pooled to the smaller. Returns (B,), sums over elements, hence the
    small weight. teacher_bn_weight, teacher_bn_bias: lists of (C',), the parameters of the teacher's batch norm, from
    which m_c is computed as in the paper, E[z | z < 0] of z ~ N(bias, weight²), −3·|weight| if z < 0 is rarer than 1 in
    1000; without them m_c is the mean over the batch.
    Paper: Heo, Kim, Yun, Park, Kwak, Choi. ICCV 2019. arXiv:1904.01866, eq. 2–5. Weight 1e-3 as the authors' for CIFAR.
    Raises: ConfigError if the lists differ in length.
    """

    paper = "Heo, Kim, Yun, Park, Kwak, Choi. ICCV 2019. arXiv:1904.01866"
    compares = "review"
    zero_at_equal = False
    default_weight = 1e-3

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        require_equal_counts(self, student, teacher)
        pairs = zip(student, teacher, strict=True)
        connectors = (conv_bn(dimensions_of(s), s.shape[1], t.shape[1]) for s, t in pairs)
        self.connectors = nn.ModuleList(connectors).to(student[0])

    def forward(
        self,
        student: list[Tensor],
        teacher: list[Tensor],
        *,
        teacher_bn_weight: list[Tensor] | None = None,
        teacher_bn_bias: list[Tensor] | None = None,
    ) -> Tensor:
        require_equal_counts(self, student, teacher)
        if teacher_bn_weight is None or teacher_bn_bias is None:
            margins = [mean_negative(t) for t in teacher]
        else:
            margins = [expected_negative(w, b) for w, b in zip(teacher_bn_weight, teacher_bn_bias, strict=True)]
        losses = []
        for stage, (connect, s, t, m) in enumerate(zip(self.connectors, student, teacher, margins, strict=True), 1):
            x, t = pool_to_smaller(connect(s), torch.maximum(t, m[(..., *[None] * dimensions_of(t))]))
            counts = (x > t) | (t > 0)
            losses.append(0.5 ** (len(student) - stage) * sum_by_sample((x - t).pow(2) * counts))
        return torch.stack(losses).sum(0)


def expected_negative(weight: Tensor, bias: Tensor) -> Tensor:
    """Return E[z | z < 0] of z ~ N(bias, weight²), for each channel (C,)."""
    scale = weight.abs().clamp_min(1e-12)
    ratio = bias / scale
    chance = torch.special.ndtr(-ratio)
    density = (-ratio.pow(2) / 2).exp() / math.sqrt(2 * math.pi)
    return torch.where(chance > 0.001, bias - scale * density / chance.clamp_min(0.001), -3 * scale)


def mean_negative(feature: Tensor) -> Tensor:
    """Return the mean of each channel's negative responses, 0 if it has none, (B, C, H, W) → (C,)."""
    others = (0, *range(2, feature.dim()))
    return feature.clamp_max(0).sum(others) / (feature < 0).sum(others).clamp_min(1)
