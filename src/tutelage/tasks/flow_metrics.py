"""Figures of optical flow."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.tasks.map_metrics import Figures, pooled_means

PIXELS, SHARE = 3.0, 0.05
"""An outlier's error is above both: so many pixels, and this share of the true displacement."""


def flow_figures(estimates: Tensor, targets: Tensor) -> Figures:
    """Return each sample's mean end-point error and share of outliers over its known pixels, weighted by their number.

    Menze, Geiger. CVPR 2015 (KITTI 2015).
    """
    known = ~targets.isnan().any(1)
    length = torch.where(known, targets.square().sum(1).sqrt(), 0)
    error = torch.where(known, (estimates - targets).square().sum(1).sqrt(), 0)
    outlier = (error > PIXELS) & (error > SHARE * length)
    return {"epe": pooled_means(error, known), "fl_all": pooled_means(outlier.double(), known)}
