"""Common corruptions of images, made here; their random numbers are drawn at the sample's address."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data.augment import addressed_noise, random_bits, stream_uniform

SEVERITIES = (1, 2, 3, 4, 5)
POISSON, IMPULSES, PLACES = 3, 4, 5
"""Numbers that separate the draws of random numbers at one address."""
SEED = 0x636F7272

Corruption = Callable[[Tensor, Tensor, int], Tensor]
"""A corruption of images (B, C, H, W) in [0, 1] with their sample numbers (B,), at a severity from 1 to 5."""


def gaussian_noise(x: Tensor, index: Tensor, severity: int) -> Tensor:
    """Add Gaussian noise."""
    sigma = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return x + sigma * addressed_noise(index, SEED, severity, tuple(x.shape[1:]))


def shot_noise(x: Tensor, index: Tensor, severity: int) -> Tensor:
    """Replace each pixel by a Poisson count of photons over their number at full brightness."""
    photons = (60.0, 25.0, 12.0, 5.0, 3.0)[severity - 1]
    seeds = random_bits(SEED, index, severity, POISSON + 1)[:, POISSON].tolist()
    generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
    counts = [torch.poisson(image * photons, generator=g) for image, g in zip(x, generators, strict=True)]
    return torch.stack(counts) / photons


def impulse_noise(x: Tensor, index: Tensor, severity: int) -> Tensor:
    """Set a share of the values to 0 or 1, with equal probability."""
    share, count = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1], x[0].numel()
    hit = stream_uniform(PLACES, index, SEED, severity, count).view_as(x) < share
    white = stream_uniform(IMPULSES, index, SEED, severity, count).view_as(x) < 0.5
    return torch.where(hit, white.to(x.dtype), x)


def blur(x: Tensor, index: Tensor, severity: int) -> Tensor:
    """Blur by a Gaussian, whose width is a part of the shorter side, and at least 0.4 to 0.8 pixels."""
    from torchvision.transforms import functional as TF

    sigma = (0.0125, 0.019, 0.022, 0.025, 0.031)[severity - 1] * min(x.shape[2:])
    sigma = max(sigma, 0.3 + 0.1 * severity)
    side = 2 * max(1, round(3 * sigma)) + 1
    return TF.gaussian_blur(x, [min(side, 2 * length - 1) for length in x.shape[:1:-1]], [sigma, sigma])


def contrast(x: Tensor, index: Tensor, severity: int) -> Tensor:
    """Move each channel towards its mean over the image."""
    mean = x.mean((2, 3), keepdim=True)
    return mean + (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] * (x - mean)


def brightness(x: Tensor, index: Tensor, severity: int) -> Tensor:
    """Add the same amount to every pixel."""
    return x + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]


def pixelate(x: Tensor, index: Tensor, severity: int) -> Tensor:
    """Make the image smaller by averaging, and as large again by repeating pixels."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    small = F.interpolate(x, [max(1, round(share * length)) for length in x.shape[2:]], mode="area")
    return F.interpolate(small, x.shape[2:], mode="nearest-exact")


def jpeg(x: Tensor, index: Tensor, severity: int) -> Tensor:
    """Compress as JPEG; for 1 or 3 channels."""
    from torchvision import io

    quality = (25, 18, 15, 10, 7)[severity - 1]
    images = x.mul(255).round().byte()
    return torch.stack([io.decode_jpeg(io.encode_jpeg(image, quality)) for image in images]).float() / 255


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian noise": gaussian_noise,
    "shot noise": shot_noise,
    "impulse noise": impulse_noise,
    "blur": blur,
    "contrast": contrast,
    "brightness": brightness,
    "pixelate": pixelate,
    "jpeg": jpeg,
}


def for_channels(channels: int) -> dict[str, Corruption]:
    """Return the corruptions of images with so many channels."""
    return {name: change for name, change in CORRUPTIONS.items() if name != "jpeg" or channels in (1, 3)}
