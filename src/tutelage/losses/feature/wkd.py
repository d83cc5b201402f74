"""Lv, Yang, Li: the Wasserstein distance between Gaussians of features."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Feature, require_same_shape
from tutelage.utils.options import FractionAboveZero, Positive, SmallCount


class WKDF(Feature):
    r"""Match the mean and deviation of each channel: the squared Wasserstein distance of two diagonal Gaussians.

    μ, σ: mean and √(variance + ε) over positions;  L = w·Σ_c (μ_c(s) − μ_c(t))² + Σ_c (σ_c(s) − σ_c(t))².

    mean_weight: w; 1 is the distance itself. grid: the map is divided into grid × grid cells, which overlap if it
    can't be divided evenly, and L is their mean.
    Shapes: student (the connector's output) (B, C, H, W), teacher (B, C, H', W'); returns (B,), sums over channels,
    hence the small weight.
    Paper: Lv, Yang, Li. NeurIPS 2024. arXiv:2412.08139, WKD-F over the entire map; the variance is unbiased, as in
    the authors' code. Both weights depend on the pair of networks; these are for a ResNet-32x4 and a ResNet-8x4. The
    code's own defaults are a grid of 4 and w = 2.
    Raises: ConfigError if a number isn't above 0, or the channels differ.
    """

    name = "wkd_f"
    paper = "Lv, Yang, Li. NeurIPS 2024. arXiv:2412.08139"
    compares = "last"
    connector = "regressor"
    ignores = ("order of channels", "swapped sides")
    default_weight = 0.08

    mean_weight: Positive = 4.0
    eps: FractionAboveZero = 1e-5
    grid: SmallCount = 1

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        cells = zip(self.cells(student), self.cells(teacher), strict=True)
        return torch.stack([self.distance(s, t) for s, t in cells]).mean(0)

    def cells(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the grid's cells of a map, with the bounds of adaptive pooling."""
        bounds = [[(k * n // self.grid, -(-(k + 1) * n // self.grid)) for k in range(self.grid)] for n in x.shape[2:]]
        for cell in product(*bounds):
            positions: list[Any] = [slice(*bound) for bound in cell]
            yield x[(..., *positions)]

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return L of one cell, (B,)."""
        (mean_s, std_s), (mean_t, std_t) = self.gaussian(student), self.gaussian(teacher)
        require_same_shape(self, mean_s, mean_t)
        return self.mean_weight * (mean_s - mean_t).pow(2).sum(1) + (std_s - std_t).pow(2).sum(1)

    def gaussian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of (B, C, H, W), (B, C) each; the variance of a single position is 0."""
        x = x.flatten(2)
        return x.mean(2), (x.var(2, correction=min(1, x.shape[2] - 1)) + self.eps).sqrt()
