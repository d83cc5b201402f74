"""Figures of counts: the sums of density maps."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.tasks.map_metrics import Figures


def counts(estimates: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the estimated and the true counts (B, C) over the known part of each map."""
    known = ~targets.isnan()
    estimated, true = (torch.where(known, x, 0).sum((2, 3)) for x in (estimates, targets))
    return estimated, true


def count_figures(estimates: Tensor, targets: Tensor) -> Figures:
    """Return each image's absolute and squared error of the count, a mean over channels."""
    estimated, true = counts(estimates, targets)
    some = (~targets.isnan()).flatten(1).any(1).double()
    errors = estimated - true
    return {"mae": (errors.abs().mean(1), some), "rmse": (errors.square().mean(1), some)}
