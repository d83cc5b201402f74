"""The knowledge quality of features: a measure to choose the layer to distil from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import DataError


@dataclass(frozen=True)
class KnowledgeQuality:
    """The separation S, information I and efficiency E of a layer's features; `value` is Q = S + √(I·E)."""

    separation: float
    information: float
    efficiency: float

    @property
    def value(self) -> float:
        """Q = S + √(I·E); a higher value indicates a better layer to distil from."""
        return self.separation + math.sqrt(self.information * self.efficiency)


def knowledge_quality(
    features: Tensor, targets: Tensor, samples: int | None = None, kept: float = 0.95
) -> KnowledgeQuality:
    r"""Compute the knowledge quality of a layer, to choose which of the teacher's layers to distil from.

    S = mean_k mean_{i≠j in k} |cos_ij| − mean_{k≠l} mean_{i in k, j in l} |cos_ij|;
    I = (1 − mean_k min_{i≠j in k} |cos_ij|) · mean_k H_k / log 5, where H_k is the entropy of the fractions of class
    k's variance along its principal axes;
    E = 2·mean_k min_{i in k, j not in k} ‖x_i − x_j‖ / mean_k mean_{i in k} ‖x_i‖ · (samples / π)^(1/d), where d is the
    number of principal axes of all features, about 0, that hold the fraction `kept` of their sum of squares.

    Args:
        features: (N, …), flattened; two or more of each class. Memory grows with N²: a few thousand are enough.
        targets: (N,), class numbers.
        samples: The size of the data set that the features are drawn from; None: N.
        kept: The fraction of the sum of squares that d axes hold, 0 to 1.

    Paper: Cooper, Chen, Dwivedy, Gurari. Logit-based losses limit the effectiveness of feature knowledge distillation.
    NeurReps workshop 2025. arXiv:2511.14981. Absolute cosines and log 5 as in the authors' code, which takes all axes
    for d. No published numbers were compared.
    Raises: DataError if the targets don't match the features, a class has only one feature, or there is only one class.
    """
    x = features.detach().flatten(1).double()
    if targets.is_floating_point() or targets.shape != x.shape[:1]:
        raise DataError(f"targets {targets.dtype} {tuple(targets.shape)}: expected {len(x)} class numbers.")
    labels, counts = targets.unique(return_counts=True)
    if len(labels) < 2 or counts.min() < 2:
        raise DataError(
            f"{len(labels)} classes, the rarest with {min(counts.tolist(), default=0)} features: expected two or more "
            "classes with two or more features each."
        )
    members = [targets == label for label in labels]
    unit = F.normalize(x, dim=1)
    cosine = (unit @ unit.T).abs()
    pairs = [cosine[m][:, m][_off_diagonal(int(m.sum()))] for m in members]
    across = [cosine[m][:, n].mean() for m in members for n in members if m is not n]
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    gap = torch.stack([distance[m][:, ~m].min() for m in members]).mean()
    size = torch.stack([x[m].norm(dim=1).mean() for m in members]).mean()
    dimension = _count_axes(_fractions(x), kept)
    intra = torch.stack([p.mean() for p in pairs]).mean()
    least = torch.stack([p.min() for p in pairs]).mean()
    return KnowledgeQuality(
        separation=float(intra - torch.stack(across).mean()),
        information=float((1 - least).clamp_min(0) * _entropy([x[m] for m in members]) / math.log(5)),
        efficiency=float(2 * gap / size.clamp_min(1e-12)) * ((samples or len(x)) / math.pi) ** (1 / dimension),
    )


def _off_diagonal(size: int) -> Tensor:
    return ~torch.eye(size, dtype=torch.bool)


def _fractions(x: Tensor) -> Tensor:
    """The fractions of the sum of squares of (N, D) along its principal axes, largest first."""
    squares = torch.linalg.svdvals(x).pow(2)
    return squares / squares.sum().clamp_min(1e-300)


def _count_axes(fractions: Tensor, kept: float) -> int:
    """The number of axes, 1 or more, whose fractions add up to `kept`."""
    return min(int((fractions.cumsum(0) < kept).sum()) + 1, len(fractions))


def _entropy(classes: list[Tensor]) -> Tensor:
    """The mean over classes of the entropy of the fractions of variance."""
    return torch.stack([torch.special.entr(_fractions(x - x.mean(0))).sum() for x in classes]).mean()
