"""Metrics of forecasts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from tutelage.data.value_targets import ValueTargets
from tutelage.data.window_split import WindowSplit


class ForecastMetrics(Metric):
    """Errors of forecasts (B, H·K) of K columns at H times, over a whole split.

    mae, mse: the mean absolute and squared error, in the column's units, or with several columns in units of the
    targets' standard deviation over the training split. mase: the mean absolute error over that of the naive forecast
    of the training rows, a mean over columns. The table `steps` (H,) has the mase of each time ahead.

    Args:
        values: the targets' names and scale.
        scale: of each column, the naive forecast's mean absolute error.
        options: options of torchmetrics.Metric.
    """

    estimates: list[Tensor]
    targets: list[Tensor]

    def __init__(self, values: ValueTargets, scale: tuple[float, ...], **options: Any) -> None:
        super().__init__(**options)
        self.values, self.scale = values, scale
        self.add_state("estimates", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Add a batch of forecasts (B, H·K) and targets (B, H·K)."""
        self.estimates.append(response.detach())
        self.targets.append(targets)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by name."""
        scaled = [dim_zero_cat(x).double().cpu() for x in (self.estimates, self.targets)]
        restored = [self.values.restore(x) for x in scaled]
        errors = (restored[0] - restored[1]).unflatten(1, (-1, len(self.scale)))
        relative = errors.abs() / torch.tensor(self.scale, dtype=torch.float64)
        plain = errors if len(self.scale) == 1 else scaled[0] - scaled[1]
        return {
            "mase": relative.mean(),
            "mae": plain.abs().mean(),
            "mse": plain.square().mean(),
            "steps": relative.mean((0, 2)),
        }


def naive_mase(windows: WindowSplit, scale: tuple[float, ...]) -> float:
    """Return the mase of always the last value of each window."""
    form = windows.form
    last = windows.series[windows.starts + form.window - 1][:, list(form.columns)].double()
    values = windows.values
    assert values is not None
    errors = (values.double().unflatten(1, (-1, len(scale))) - last[:, None]).abs()
    return float((errors / torch.tensor(scale, dtype=torch.float64)).mean())
