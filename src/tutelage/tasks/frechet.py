"""Distances between sets of images, in the features of a network: Fréchet's, and precision and recall."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

NEIGHBOURS = 3
"""The neighbours whose distance is the radius of an image's surroundings."""


class _Features(nn.Module):
    """Passes features through, for a metric that expects a network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, made: Tensor) -> float:
    """Return Fréchet's distance of the Gaussians that fit two sets of features, (N, D) and (M, D): 0 for equal sets.

    |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½). Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter. NeurIPS 2017.
    arXiv:1706.08500, which takes Inception's features of 50,000 images.
    Warns: UserWarning if a set has no more samples than features: the distance is then much too large.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    count, width = min(len(real), len(made)), real.shape[1]
    if count <= width:
        warnings.warn(
            f"Fréchet's distance of {count} samples in {width} features is much too large, and only compares with that "
            f"of as many: use more than {width} samples, better ten times as many.",
            stacklevel=2,
        )
    metric = FrechetInceptionDistance(_Features(width))
    centre = real.double().mean(0)  # covariances as sums of squares lose digits far from 0
    for features, is_real in ((real, True), (made, False)):
        metric.update(features.double() - centre, real=is_real)
    return float(metric.compute().clamp_min(0))


def precision_and_recall(real: Tensor, made: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Return the share of made samples near a real one, and of real samples near a made one.

    Near: not farther than the other's k-th neighbour within its own set. Kynkäänniemi, Karras, Laine, Lehtinen, Aila.
    NeurIPS 2019. arXiv:1904.06991.
    """
    real, made = real.double(), made.double()
    return _covered(made, real, k), _covered(real, made, k)


def _covered(points: Tensor, by: Tensor, k: int) -> float:
    radii = torch.cdist(by, by).kthvalue(min(k + 1, len(by)), dim=1).values  # itself is the first
    return float((torch.cdist(points, by) <= radii).any(1).double().mean())
