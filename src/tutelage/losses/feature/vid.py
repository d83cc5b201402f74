"""Ahn, Hu, Damianou, Lawrence, Dai: variational information distillation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature, require_equal_counts
from tutelage.losses.functional.distances import mean_by_sample
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.nn.maps import conv, dimensions_of
from tutelage.utils.options import FractionAboveZero, Positive


class VID(Feature):
    r"""Maximise the likelihood of the teacher's feature under a Gaussian around the student's estimate.

    L = Σ_l mean ½·((μ_l(s) − t)²/σ_lc² + log σ_lc²), one value per sample; μ are three 1×1 convolutions with ReLU
    between, σ² = softplus(α) + eps is learned for each channel.

    variance: the initial σ².
    Shapes: student, teacher lists of maps (B, C, H, W); the larger of a pair is average-pooled to the smaller.
    Returns (B,), which may be negative.
    Paper: Ahn, Hu, Damianou, Lawrence, Dai. CVPR 2019. arXiv:1904.05835, eq. 5–6, without the constant.
    Raises: ConfigError if eps isn't above 0, variance isn't above eps, or the lists differ in length.
    """

    paper = "Ahn, Hu, Damianou, Lawrence, Dai. CVPR 2019. arXiv:1904.05835"
    compares = "review"
    zero_at_equal = False

    variance: Positive = 5.0
    eps: FractionAboveZero = 1e-5

    def __post_init__(self) -> None:
        if self.variance <= self.eps:
            raise ConfigError(f"VID(variance={self.variance!r}, eps={self.eps!r}): expected a variance above eps.")

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        require_equal_counts(self, student, teacher)
        pairs = zip(student, teacher, strict=True)
        self.gaussians = nn.ModuleList(
            Gaussian(dimensions_of(s), s.shape[1], t.shape[1], self.variance, self.eps) for s, t in pairs
        ).to(student[0])

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        require_equal_counts(self, student, teacher)
        layers = zip(self.gaussians, student, teacher, strict=True)
        return torch.stack([gaussian(*pool_to_smaller(s, t)) for gaussian, s, t in layers]).sum(0)


class Gaussian(nn.Module):
    """A Gaussian of the teacher's map given the student's: a mean for each element, a variance for each channel."""

    def __init__(self, dimensions: int, channels: int, out_channels: int, variance: float, eps: float) -> None:
        super().__init__()
        self.regressor = nn.Sequential(
            conv(dimensions, channels, out_channels, bias=False), nn.ReLU(),
            conv(dimensions, out_channels, out_channels, bias=False), nn.ReLU(),
            conv(dimensions, out_channels, out_channels, bias=False),
        )  # fmt: skip
        self.log_scale = nn.Parameter(torch.full((out_channels,), math.log(math.expm1(variance - eps))))
        self.eps = eps

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the negative log-likelihood of the teacher's map without its constant, (B,)."""
        variance = (F.softplus(self.log_scale) + self.eps)[(..., *[None] * dimensions_of(teacher))]
        return mean_by_sample((self.regressor(student) - teacher).pow(2) / variance + variance.log()) / 2
