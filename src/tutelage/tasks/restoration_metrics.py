"""Figures of restored images: PSNR and SSIM."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.tasks.map_metrics import Figures, sample_means

LEAST_ERROR = 1e-10
"""The least mean squared error: an image that is exactly right has 100 dB."""

WINDOW = 11
"""The side of SSIM's window; smaller images have no SSIM."""


def peak_figures(estimates: Tensor, targets: Tensor) -> Figures:
    """Return each image's PSNR in dB over its known pixels, of images clamped to [0, 1]."""
    errors = (estimates.double().clamp(0, 1) - targets.double()).square()
    means, some = sample_means(errors, ~targets.isnan())
    return {"psnr": (torch.where(some > 0, -10 * means.clamp_min(LEAST_ERROR).log10(), 0), some)}


def image_figures(estimates: Tensor, targets: Tensor) -> Figures:
    """Return each image's PSNR in dB and its SSIM, of images clamped to [0, 1].

    PSNR is of the known pixels; SSIM (Gaussian window of 11 pixels, σ 1.5) of images that are known throughout.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    figures, clamped = peak_figures(estimates, targets), estimates.clamp(0, 1)
    whole = ~targets.isnan().flatten(1).any(1)
    ssim = figures["psnr"][0].new_zeros(len(targets))
    if min(targets.shape[2:]) >= WINDOW and whole.any():
        images = clamped[whole].float(), targets[whole].float().clamp(0, 1)
        ssim[whole] = torch.atleast_1d(
            structural_similarity_index_measure(*images, data_range=1.0, reduction="none")
        ).to(ssim)
    large = min(targets.shape[2:]) >= WINDOW
    return figures | {"ssim": (ssim, (whole & large).double())}
