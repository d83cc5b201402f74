"""Metrics of maps: each sample's figures, averaged over the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

Figures = dict[str, tuple[Tensor, Tensor]]
"""Each sample's value (B,) and its weight in the mean, 0 if nothing is known, by name."""

Measure = Callable[[Tensor, Tensor], Figures]
"""Estimates (B, C, H, W) and targets of the same shape, NaN where they aren't known → figures."""


class SampleMeans(Metric):
    """Weighted means of samples' figures over a whole split, and `samples_left_out`, those with nothing known.

    Args:
        measure: returns the figures.
        names: their names.
        roots: the names of those whose mean's square root is the metric.
        options: options of torchmetrics.Metric.
    """

    totals: Tensor
    weights: Tensor
    left_out: Tensor

    def __init__(self, measure: Measure, names: Sequence[str], roots: Sequence[str] = (), **options: Any) -> None:
        super().__init__(**options)
        self.measure, self.names, self.roots = measure, tuple(names), tuple(roots)
        for state in ("totals", "weights"):
            self.add_state(state, torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("left_out", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, estimates: Tensor, targets: Tensor) -> None:
        """Add a batch of estimates and targets, (B, C, H, W) each."""
        figures = self.measure(estimates.detach(), targets)
        for number, name in enumerate(self.names):
            value, weight = figures[name]
            self.totals[number] += (value.double() * weight).sum()
            self.weights[number] += weight.sum()
        self.left_out += (~targets.isnan()).flatten(1).any(1).logical_not().sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by name; the first is 0 if no sample has it, and others are then left out."""
        means = self.totals / torch.where(self.weights > 0, self.weights, 1)
        roots = torch.tensor([name in self.roots for name in self.names], device=means.device)
        values = torch.where(roots, means.sqrt(), means)
        some = [number == 0 or weight > 0 for number, weight in enumerate(self.weights.tolist())]
        known = {name: value for name, value, there in zip(self.names, values, some, strict=True) if there}
        return known | {"samples_left_out": self.left_out}


def sample_means(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return each sample's mean of the known values, (B,), and 1, or 0 without any: values, known (B, …)."""
    values, known = values.flatten(1), known.flatten(1)
    count = known.sum(1)
    return torch.where(known, values, 0).sum(1) / count.clamp_min(1), (count > 0).double()


def pooled_means(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return each sample's mean of the known values, (B,), and their number, by which it counts."""
    return sample_means(values, known)[0], known.flatten(1).sum(1).double()
