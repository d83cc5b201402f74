"""How much a layer's features have to teach."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import DataError


@dataclass(frozen=True)
class KnowledgeQuality:
    """Separation S, information I and efficiency E of a layer's features; `value` is Q = S + √(I·E)."""

    separation: float
    information: float
    efficiency: float

    @property
    def value(self) -> float:
        """The higher, the better a layer to distil from."""
        return self.separation + math.sqrt(self.information * self.efficiency)


def knowledge_quality(
    features: Tensor, targets: Tensor, samples: int | None = None, kept: float = 0.95
) -> KnowledgeQuality:
    r"""The knowledge quality of a layer, to choose which of the teacher's layers to distil from.

    S = mean_k mean_{i≠j in k} |cos_ij| − mean_{k≠l} mean_{i in k, j in l} |cos_ij|;
    I = (1 − mean_k min_{i≠j in k} |cos_ij|) · mean_k H_k / log 5, H_k the entropy of the shares of variance of class k
    along its principal axes;
    E = 2·mean_k min_{i in k, j not in k} ‖x_i − x_j‖ / mean_k mean_{i in k} ‖x_i‖ · (samples / π)^(1/d), d how many
    principal axes of all features, about 0, hold the share `kept` of their squares.

    Shapes: features (N, …), flattened, 2 or more of each class; targets (N,) class numbers. samples: size of the data
    set that they are drawn from, N if None. Costs N² memory: a few thousand are enough.
    Paper: Cooper, Chen, Dwivedy, Gurari. Logit-based losses limit the effectiveness of feature knowledge distillation.
    NeurReps workshop 2025. arXiv:2511.14981. Absolute cosines and log 5 as in the authors' code, which takes all axes
    for d. No published numbers were compared.
    Raises: DataError if the targets don't fit, a class has one feature alone, or there is one class alone.
    """
    x = features.detach().flatten(1).double()
    if targets.is_floating_point() or targets.shape != x.shape[:1]:
        raise DataError(f"targets {targets.dtype} {tuple(targets.shape)}, expected {len(x)} class numbers.")
    labels, counts = targets.unique(return_counts=True)
    if len(labels) < 2 or counts.min() < 2:
        raise DataError(
            f"{len(labels)} classes, the rarest with {min(counts.tolist(), default=0)} features; expected two or more, "
            "with two features or more each."
        )
    members = [targets == label for label in labels]
    unit = F.normalize(x, dim=1)
    cosine = (unit @ unit.T).abs()
    pairs = [cosine[m][:, m][_off_diagonal(int(m.sum()))] for m in members]
    across = [cosine[m][:, n].mean() for m in members for n in members if m is not n]
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    gap = torch.stack([distance[m][:, ~m].min() for m in members]).mean()
    size = torch.stack([x[m].norm(dim=1).mean() for m in members]).mean()
    dimension = _axes(_shares(x), kept)
    alike = torch.stack([p.mean() for p in pairs]).mean()
    least = torch.stack([p.min() for p in pairs]).mean()
    return KnowledgeQuality(
        separation=float(alike - torch.stack(across).mean()),
        information=float((1 - least).clamp_min(0) * _entropy([x[m] for m in members]) / math.log(5)),
        efficiency=float(2 * gap / size.clamp_min(1e-12)) * ((samples or len(x)) / math.pi) ** (1 / dimension),
    )


def _off_diagonal(size: int) -> Tensor:
    return ~torch.eye(size, dtype=torch.bool)


def _shares(x: Tensor) -> Tensor:
    """The shares of the sum of squares along the principal axes of (N, D), largest first."""
    squares = torch.linalg.svdvals(x).pow(2)
    return squares / squares.sum().clamp_min(1e-300)


def _axes(shares: Tensor, kept: float) -> int:
    """How many are needed for a share, 1 or more."""
    return min(int((shares.cumsum(0) < kept).sum()) + 1, len(shares))


def _entropy(classes: list[Tensor]) -> Tensor:
    """The mean entropy of the classes' shares of variance."""
    return torch.stack([torch.special.entr(_shares(x - x.mean(0))).sum() for x in classes]).mean()
