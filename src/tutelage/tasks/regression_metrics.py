"""Metrics of estimated values, in the targets' own units."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from tutelage.data.value_targets import ValueTargets

NAMES = ("rmse", "mae", "r2", "srcc", "plcc", "krcc")


class RegressionMetrics(Metric):
    """Errors and correlations of estimates (B, T) with targets (B, T), both scaled, over a whole split.

    rmse, mae: root mean squared and mean absolute error, in the target's units. r2: 1 − Σ(y − s)²/Σ(y − ȳ)². srcc,
    plcc, krcc: Spearman's, Pearson's and Kendall's (tau-b) correlation, 0 if either side is constant. With several
    targets each is also given per target (rmse/NAME), and the mean over targets decides; the means of rmse and mae are
    then in units of the targets' standard deviation over the training split.

    Args:
        values: the targets' names and scale.
        options: options of torchmetrics.Metric.
    """

    estimates: list[Tensor]
    targets: list[Tensor]

    def __init__(self, values: ValueTargets, **options: Any) -> None:
        super().__init__(**options)
        self.values = values
        self.add_state("estimates", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Add a batch of estimates (B, T) and targets (B, T)."""
        self.estimates.append(response.detach())
        self.targets.append(targets)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by name."""
        scaled = [dim_zero_cat(x).double().cpu() for x in (self.estimates, self.targets)]
        estimates, targets = (self.values.restore(x).numpy() for x in scaled)
        by_target = [_figures(s, y) for s, y in zip(estimates.T, targets.T, strict=True)]
        if len(by_target) == 1:
            return {name: torch.tensor(by_target[0][name]) for name in NAMES}
        relative = [_figures(s, y) for s, y in zip(*(x.numpy().T for x in scaled), strict=True)]
        means = {name: float(np.mean([figures[name] for figures in relative])) for name in NAMES}
        named = zip(self.values.names, by_target, strict=True)
        each = {f"{name}/{target}": figures[name] for target, figures in named for name in NAMES}
        return {name: torch.tensor(value) for name, value in (means | each).items()}


def _figures(estimates: Any, targets: Any) -> dict[str, float]:
    """Return the metrics of one target: (N,) float64 each."""
    from scipy import stats

    error = estimates - targets
    variation = float(np.square(targets - targets.mean()).sum())
    squares = float(np.square(error).sum())
    constant = np.ptp(estimates) == 0 or np.ptp(targets) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, of nearly constant input
        rank, linear, concordance = (
            0.0 if constant else float(correlate(estimates, targets).statistic)
            for correlate in (stats.spearmanr, stats.pearsonr, stats.kendalltau)
        )
    return {
        "rmse": float(np.sqrt(squares / len(error))),
        "mae": float(np.abs(error).mean()),
        "r2": 1 - squares / variation if variation else (1.0 if squares == 0 else 0.0),
        "srcc": rank,
        "plcc": linear,
        "krcc": concordance,
    }
