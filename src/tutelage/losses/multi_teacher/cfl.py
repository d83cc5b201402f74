"""Luo, Wang, Fang, Hu, Tao, Song: student and teachers compared in a common feature space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Feature, require_equal_counts, require_same_shape
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.losses.functional.pairwise import gram
from tutelage.losses.multi_teacher.ka import mean_square
from tutelage.nn.blocks import BatchNorm, conv_bn
from tutelage.nn.maps import conv, dimensions_of
from tutelage.utils.options import Positives, Width

SIGMAS = (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)
"""The widths of the Gaussian kernels between vectors of unit length."""


class CFLMMD(Feature):
    r"""Match the distribution of the features over the batch, by MMD with several Gaussian kernels.

    L = MMD² = mean k(s, s') + mean k(t, t') − 2·mean k(s, t) of the flattened maps, of unit length, over all pairs of
    the batch;  k(x, y) = Σ_σ exp(−‖x − y‖²/2σ²); one value per sample, whose mean is MMD².

    Shapes: student (the connector's output) and teacher of equal shape, (B, C, H, W); returns (B,).
    Paper: Luo, Wang, Fang, Hu, Tao, Song. IJCAI 2019. arXiv:1906.10546; the σ and the unit length are the authors'. See
    cfl for the common space in which they compare.
    Raises: ConfigError if there is no σ or one isn't above 0, or the two differ in shape.
    """

    name = "cfl_mmd"
    paper = "Luo, Wang, Fang, Hu, Tao, Song. IJCAI 2019. arXiv:1906.10546"
    compares = "last"
    connector = "conv1x1"
    ignores = ("scale of each sample", "order of channels", "swapped sides")

    sigmas: Positives = SIGMAS

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return mmd(student, teacher, self.sigmas)


class CFL(Feature):
    r"""Match the distribution of the student's and each teacher's features in a common space that is learned jointly.

    h = G(max(BN(A f), 0)): a 1×1 convolution A for each network, then the shared G, two residual blocks of 3×3
    convolutions with batch norm;  L = Σ_m CFLMMD(h_s, h_m) + Σ_m mean (R_m h_m − t_m)², R_m two 1×1 convolutions with
    batch norm and ReLU between, back to the teacher's feature: the parts "mmd" and "reconstruction".

    dim: channels of the common space; None takes a quarter of the student's.
    Shapes: student a list of M maps (B, C, H, W), the same map for each teacher; teacher M maps (B, C_m, H_m, W_m);
    the common features are average-pooled to one size. Returns two (B,).
    Paper: Luo, Wang, Fang, Hu, Tao, Song. IJCAI 2019. arXiv:1906.10546; layers, kernels, dim and the weight 10 of both
    parts, alongside 1 of the divergence from the teachers' logits at T = 1, are as in the authors' code. No published
    numbers were compared.
    Raises: ConfigError if the lists don't pair, dim isn't above 0, there is no σ or one isn't above 0.
    """

    name = "cfl"
    paper = "Luo, Wang, Fang, Hu, Tao, Song. IJCAI 2019. arXiv:1906.10546"
    compares = "review"
    list_inputs = ("teacher",)
    class_dim = None
    zero_at_equal = False
    default_weight = 10.0
    task_loss_weight = 0.0

    dim: Width | None = None
    sigmas: Positives = SIGMAS

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        student = torch.randn(6, 4, 4, 4)
        return [student, student.clone()], [torch.randn(6, 4, 4, 4) for _ in range(2)], {}

    def build(self, student: Sequence[Tensor], teacher: Sequence[Tensor], samples: int) -> None:
        require_equal_counts(self, list(student), list(teacher))
        dimensions, channels = dimensions_of(student[0]), student[0].shape[1]
        dim = max(channels // 4, 1) if self.dim is None else self.dim
        self.adapt = nn.Sequential(conv(dimensions, channels, dim), BatchNorm(dim), nn.ReLU())
        self.adapts = nn.ModuleList(
            nn.Sequential(conv(dimensions, t.shape[1], dim), BatchNorm(dim), nn.ReLU()) for t in teacher
        )
        self.returns = nn.ModuleList(
            nn.Sequential(conv(dimensions, dim, dim), BatchNorm(dim), nn.ReLU(), conv(dimensions, dim, t.shape[1]))
            for t in teacher
        )
        self.common = nn.Sequential(Residual(dimensions, dim), Residual(dimensions, dim))
        self.to(student[0])

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> dict[str, Tensor]:
        student_codes = [self.common(self.adapt(s)) for s in student]
        teacher_codes = [self.common(adapt(t)) for adapt, t in zip(self.adapts, teacher, strict=True)]
        discrepancies = [
            mmd(*pool_to_smaller(s, t), self.sigmas) for s, t in zip(student_codes, teacher_codes, strict=True)
        ]
        errors = [mean_square(decode(h), t) for decode, h, t in zip(self.returns, teacher_codes, teacher, strict=True)]
        return {"mmd": torch.stack(discrepancies).sum(0), "reconstruction": torch.stack(errors).sum(0)}


class Residual(nn.Module):
    """A residual block of two convolutions of size 3 with batch norm, ReLU after the first and after the sum."""

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        like = dimensions, channels, channels
        self.convs = nn.Sequential(*conv_bn(*like, 3), nn.ReLU(), *conv_bn(*like, 3))

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, …) to the same shape."""
        return (feature + self.convs(feature)).relu()


def mmd(student: Tensor, teacher: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Return each sample's part of MMD² between maps of equal shape, (B,)."""
    count = len(student)
    _, squared, _ = gram(F.normalize(torch.cat([student, teacher]).flatten(1), dim=1))
    squared = squared.clamp_min(1e-12)
    k = torch.stack([(-squared / (2 * sigma**2)).exp() for sigma in sigmas]).sum(0)
    return (k[:count, :count] + k[count:, count:] - 2 * k[:count, count:]).mean(1)
