"""Figures of estimated depth."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.tasks.map_metrics import Figures, sample_means

FLOOR = 1e-3
"""The least estimate, of the image's mean depth: depths of 0 or below have no logarithm."""


def depth_figures(estimates: Tensor, targets: Tensor) -> Figures:
    """Return each image's errors and shares of pixels within a factor, over pixels of known depth above 0.

    Eigen, Puhrsch, Fergus. NIPS 2014. arXiv:1406.2283
    """
    known = targets > 0  # NaN isn't
    y = torch.where(known, targets, 1)
    mean, _ = sample_means(targets, known)
    s = torch.where(known, torch.maximum(estimates, FLOOR * mean.view(-1, *(1 for _ in targets.shape[1:]))), y)
    ratio = torch.maximum(s / y, y / s)
    squares, some = sample_means((s - y).square(), known)
    return {
        "abs_rel": sample_means((s - y).abs() / y, known),
        "rmse": (squares.sqrt(), some),
        "log10": sample_means((s / y).log10().abs(), known),
        **{f"delta{power}": sample_means((ratio < 1.25**power).double(), known) for power in (1, 2, 3)},
    }
