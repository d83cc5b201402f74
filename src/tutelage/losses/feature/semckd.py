"""Chen, Mei, Zhang, Wang, Wang, Feng, Chen: semantic calibration of layer pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature
from tutelage.losses.functional.distances import mean_by_sample
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.nn.blocks import BatchNorm
from tutelage.nn.maps import conv, dimensions_of
from tutelage.utils.options import SmallCount, Temperature, Width


class SemCKD(Feature):
    r"""Match every layer of the student with every layer of the teacher, weighted by attention.

    q_i = unit(MLP_i(rows of s_i·s_iᵀ)), k_j = unit(MLP_j(rows of t_j·t_jᵀ)), B × B similarities in the batch;
    α_ij = softmax_j(⟨q_i, k_j⟩ / T);  L = mean_i Σ_j α_ij · mean (P_ij(s_i) − t_j)², one value per sample.

    batch_size: the MLPs' input width; rows of a smaller batch are padded with zeros. factor: the MLPs map
    batch_size to batch_size/factor. P is 1×1–3×3–1×1 convolutions with twice the teacher's channels between.
    Shapes: student, teacher lists of maps (B, C, H, W); the larger of a pair is average-pooled to the smaller.
    Returns (B,). The order of the samples in the batch matters.
    Paper: Chen, Mei, Zhang, Wang, Wang, Feng, Chen. AAAI 2021. arXiv:2012.03236, eq. 5–9. Weight 400 as in the authors'
    scripts. They drop an incomplete batch.
    Raises: ConfigError if an option isn't above 0, or for a batch larger than batch_size.
    """

    name = "semckd"
    paper = "Chen, Mei, Zhang, Wang, Wang, Feng, Chen. AAAI 2021. arXiv:2012.03236"
    compares = "review"
    harmed_on = "EuroSAT"
    zero_at_equal = False
    permutation_invariant = False
    default_weight = 400.0

    batch_size: Width = 256
    factor: SmallCount = 4
    temperature: Temperature = 1.0

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        dim = max(self.batch_size // self.factor, 1)
        self.queries = nn.ModuleList(mlp(self.batch_size, dim) for _ in student).to(student[0])
        self.keys = nn.ModuleList(mlp(self.batch_size, dim) for _ in teacher).to(student[0])
        self.projectors = nn.ModuleDict(
            {
                f"{i}_{j}": projector(dimensions_of(s), s.shape[1], t.shape[1])
                for i, s in enumerate(student)
                for j, t in enumerate(teacher)
            }
        ).to(student[0])

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        q = torch.stack([self.embed(mlp, s) for mlp, s in zip(self.queries, student, strict=True)], dim=1)
        k = torch.stack([self.embed(mlp, t) for mlp, t in zip(self.keys, teacher, strict=True)], dim=1)
        alpha = F.softmax(q @ k.mT / self.temperature, dim=2)
        errors = [
            torch.stack([error(self.projectors[f"{i}_{j}"], s, t) for j, t in enumerate(teacher)], dim=1)
            for i, s in enumerate(student)
        ]
        return (alpha * torch.stack(errors, dim=1)).sum(2).mean(1)

    def embed(self, mlp: nn.Module, feature: Tensor) -> Tensor:
        """Embed the similarities within the batch, (B, C, …) → (B, batch_size / factor)."""
        flat = feature.flatten(1)
        if len(flat) > self.batch_size:
            raise ConfigError(
                f"SemCKD(batch_size={self.batch_size}): got a batch of {len(flat)}; set batch_size to the training's."
            )
        return F.normalize(mlp(F.pad(flat @ flat.T, (0, self.batch_size - len(flat)))), dim=1)


def mlp(dim: int, out_dim: int) -> nn.Sequential:
    """Build two linear layers with a hidden width of twice the output's."""
    return nn.Sequential(nn.Linear(dim, 2 * out_dim), nn.ReLU(), nn.Linear(2 * out_dim, out_dim))


def projector(dimensions: int, channels: int, out_channels: int) -> nn.Sequential:
    """Build a bottleneck from the student's channels to the teacher's, through twice as many."""
    width = 2 * out_channels
    return nn.Sequential(
        conv(dimensions, channels, width, bias=False), BatchNorm(width), nn.ReLU(),
        conv(dimensions, width, width, 3, padding=1, bias=False), BatchNorm(width), nn.ReLU(),
        conv(dimensions, width, out_channels, bias=False),
    )  # fmt: skip


def error(project: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean square between a projected map and the teacher's, (B,)."""
    student, teacher = pool_to_smaller(student, teacher)
    return mean_by_sample((project(student) - teacher).pow(2))
