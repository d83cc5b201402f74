"""Figures of restored images: PSNR and SSIM."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.tasks.map_metrics import Figures, sample_means

LEAST_ERROR = 1e-10
"""The least mean squared error: an image that is exactly right has 100 dB."""

WINDOW = 11
"""The side of SSIM's window; smaller images have no SSIM."""


def image_figures(estimates: Tensor, targets: Tensor) -> Figures:
    """Return each image's PSNR in dB and its SSIM, of images clamped to [0, 1].

    PSNR is of the known pixels; SSIM (Gaussian window of 11 pixels, σ 1.5) of images that are known throughout.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    known, clamped = ~targets.isnan(), estimates.double().clamp(0, 1)
    errors, some = sample_means((clamped - targets.double()).square(), known)
    psnr = -10 * errors.clamp_min(LEAST_ERROR).log10()
    whole = known.flatten(1).all(1)
    ssim = torch.zeros_like(psnr)
    if min(targets.shape[2:]) >= WINDOW and whole.any():
        images = clamped[whole].float(), targets[whole].float().clamp(0, 1)
        ssim[whole] = torch.atleast_1d(
            structural_similarity_index_measure(*images, data_range=1.0, reduction="none")
        ).to(ssim)
    large = min(targets.shape[2:]) >= WINDOW
    return {"psnr": (torch.where(some > 0, psnr, 0), some), "ssim": (ssim, (whole & large).double())}
