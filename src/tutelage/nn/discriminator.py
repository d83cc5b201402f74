"""A network that tells real images from made ones."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

HALVINGS, SMALLEST = 3, 4


def patch_discriminator(channels: int, size: tuple[int, ...], width: int) -> nn.Sequential:
    """Return a network of images (B, channels, H, W) with one logit, above 0 for real, for each patch: (B, 1, h, w).

    Up to three 4×4 convolutions halve the sides, as long as these are longer than 4, width, 2·width, 4·width wide; each
    has spectral norm and LeakyReLU. Isola, Zhu, Zhou, Efros. CVPR 2017. arXiv:1611.07004 (patches); Miyato, Kataoka,
    Koyama, Yoshida. ICLR 2018. arXiv:1802.05957 (spectral norm).
    """
    halvings = sum(min(size) > SMALLEST << k for k in range(HALVINGS))
    widths = [channels, *(width << k for k in range(halvings))]
    halves = [
        layer
        for inputs, outputs in pairwise(widths)
        for layer in (spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2))
    ]
    return nn.Sequential(*halves, spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))
