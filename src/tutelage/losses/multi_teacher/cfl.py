"""Luo, Wang, Fang, Hu, Tao, Song: student and teachers meet in a space that all share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Feature, as_many
from tutelage.losses.multi_teacher.ka import mean_square
from tutelage.options import Width

GAMMAS = (0.5, 1.0, 2.0, 4.0)
"""Of the Gaussian kernels exp(−γ‖x − y‖²) between vectors of unit length."""


class CFL(Feature):
    r"""Match the distribution of the student's and each teacher's features in a common space, learned with them.

    h = G(A f): each network's own 1×1 convolution A, then the shared G, a residual block of 1×1 convolutions;
    L = Σ_m MMD²(h_s, h_m) + Σ_m mean (R_m h_m − t_m)², R_m a 1×1 convolution back to the teacher's feature.
    MMD² over the batch, of h averaged over positions and made unit length; k(x, y) = the mean of four Gaussian kernels.

    Shapes: student a list of M maps (B, C, H, W), the same once for each teacher; teacher M maps (B, C_m, H_m, W_m).
    Returns two (B,). dim: channels of the common space.
    Paper: Luo, Wang, Fang, Hu, Tao, Song. IJCAI 2019. arXiv:1906.10546; kernels, dim and weights are our choice.
    No published numbers were compared.
    Raises: ConfigError if the lists don't pair or dim isn't above 0.
    """

    name = "cfl"
    paper = "Luo, Wang, Fang, Hu, Tao, Song. IJCAI 2019. arXiv:1906.10546"
    sees = "review"
    lists = ("teacher",)
    class_dim = None
    zero_at_equal = False
    beside = 0.0

    dim: Width = 64

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        student = torch.randn(6, 3, 4, 4)
        return [student, student.clone()], [torch.randn(6, 3, 4, 4) for _ in range(2)], {}

    def build(self, student: Sequence[Tensor], teacher: Sequence[Tensor], samples: int) -> None:
        as_many(self, list(student), list(teacher))
        self.adapt = nn.Conv2d(student[0].shape[1], self.dim, 1)
        self.adapts = nn.ModuleList(nn.Conv2d(t.shape[1], self.dim, 1) for t in teacher)
        self.returns = nn.ModuleList(nn.Conv2d(self.dim, t.shape[1], 1) for t in teacher)
        self.shared = nn.Sequential(nn.Conv2d(self.dim, self.dim, 1), nn.ReLU(), nn.Conv2d(self.dim, self.dim, 1))
        self.to(student[0])

    def common(self, feature: Tensor) -> Tensor:
        """G."""
        return feature + self.shared(feature.relu())

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> dict[str, Tensor]:
        ours = [pooled(self.common(self.adapt(s))) for s in student]
        theirs = [self.common(adapt(t)) for adapt, t in zip(self.adapts, teacher, strict=True)]
        apart = [mmd(x, pooled(h)) for x, h in zip(ours, theirs, strict=True)]
        again = [mean_square(back(h), t) for back, h, t in zip(self.returns, theirs, teacher, strict=True)]
        return {"mmd": torch.stack(apart).sum(0), "reconstruction": torch.stack(again).sum(0)}


def pooled(feature: Tensor) -> Tensor:
    """(B, C, H, W) → (B, C), averaged over positions, of unit length."""
    return F.normalize(feature.mean((2, 3)), dim=1)


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """(B, D), (B, D) → (B,): each x's mean kernel with the y."""
    squared = (x.pow(2).sum(1)[:, None] + y.pow(2).sum(1) - 2 * x @ y.mT).clamp_min(0)
    return torch.stack([(-gamma * squared).exp() for gamma in GAMMAS]).mean((0, 2))


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Each sample's part of MMD² = mean k(x, x') + mean k(y, y') − 2·mean k(x, y), (B,)."""
    return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)
