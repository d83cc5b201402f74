"""Park, Kim, Lu, Cho: distances and angles between samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Relation
from tutelage.losses.functional.pairwise import gram
from tutelage.utils.options import NonNegative


class RKDDistance(Relation):
    r"""Match the distances between the samples of a batch, each relative to their mean.

    ψ_ij = ‖x_i − x_j‖ / mean of these over i ≠ j;  L = huber(ψ(s)_ij − ψ(t)_ij), averaged over all j for each sample i.

    Shapes: student (B, …), teacher (B, …), flattened; returns (B,), 0 for a batch of one, or of two, which has a single
    distance.
    Paper: Park, Kim, Lu, Cho. CVPR 2019. arXiv:1904.05068, eq. 4–6. As in the authors' code the mean includes j = i.
    """

    paper = "Park, Kim, Lu, Cho. CVPR 2019. arXiv:1904.05068"
    flattens = True
    ignores = ("scale", "translation", "rotation", "swapped sides")
    default_weight = 25.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return F.smooth_l1_loss(relative_distances(student), relative_distances(teacher), reduction="none").mean(1)


class RKDAngle(Relation):
    r"""Match the angles between the samples of a batch.

    A_ijk = cos ∠(x_j − x_i, x_k − x_i), 0 where an edge has no length;
    L = huber(A(s)_ijk − A(t)_ijk), averaged over all j, k for each sample i.

    Shapes: student (B, …), teacher (B, …), flattened; returns (B,). The cost grows with B³, whatever D is.
    Paper: Park, Kim, Lu, Cho. CVPR 2019. arXiv:1904.05068, eq. 7–8. As in the authors' code j = k and j = i count too.
    """

    paper = "Park, Kim, Lu, Cho. CVPR 2019. arXiv:1904.05068"
    flattens = True
    ignores = ("scale", "translation", "rotation", "swapped sides")
    default_weight = 50.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return F.smooth_l1_loss(angles(student), angles(teacher), reduction="none").mean((1, 2))


class RKD(Relation):
    r"""Match the distances and the angles between the samples of a batch.

    L = w_D · RKDDistance + w_A · RKDAngle: the parts "distance" and "angle".

    Shapes: student (B, …), teacher (B, …), flattened; each part is (B,).
    Paper: Park, Kim, Lu, Cho. CVPR 2019. arXiv:1904.05068. The weights 25 and 50 are the authors' for classification.
    """

    paper = "Park, Kim, Lu, Cho. CVPR 2019. arXiv:1904.05068"
    flattens = True
    ignores = ("scale", "translation", "rotation", "swapped sides")

    distance_weight: NonNegative = 25.0
    angle_weight: NonNegative = 50.0

    def __post_init__(self) -> None:
        self.distance, self.angle = RKDDistance(), RKDAngle()

    def forward(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        return {
            "distance": self.distance_weight * self.distance(student, teacher),
            "angle": self.angle_weight * self.angle(student, teacher),
        }


def relative_distances(x: Tensor) -> Tensor:
    """The relative distances ψ: (B, …) → (B, B)."""
    _, squared, _ = gram(x)
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
    distance = squared.clamp_min(1e-12).sqrt().masked_fill(itself, 0)
    pairs = len(x) * (len(x) - 1)
    return distance / (distance.sum() / max(pairs, 1)).clamp_min(1e-12)


def angles(x: Tensor) -> Tensor:
    """The cosines A: (B, …) → (B, B, B), from ⟨x_j − x_i, x_k − x_i⟩ = G_jk − G_ij − G_ik + G_ii."""
    g, squared, scale = gram(x)
    coincide = squared <= 64 * torch.finfo(x.dtype).eps * scale  # the difference is rounding error only
    inverse = squared.masked_fill(coincide, 1).rsqrt().masked_fill(coincide, 0)
    half = g.diagonal()[:, None] / 2 - g
    return (g + half[:, :, None] + half[:, None, :]) * inverse[:, :, None] * inverse[:, None, :]
