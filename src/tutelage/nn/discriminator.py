"""A network that tells real images from made ones."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

HALVINGS, SMALLEST = 3, 4


def patch_discriminator(channels: int, size: tuple[int, ...], width: int) -> nn.Sequential:
    """Return a network of images (B, channels, H, W) with one logit, above 0 for real, for each patch: (B, 1, h, w).

    Up to three 4×4 convolutions halve the sides, as long as these are longer than 4, width, 2·width, 4·width wide; each
    has spectral norm and LeakyReLU. The last convolution also sees how much the batch varies. Isola, Zhu, Zhou, Efros.
    CVPR 2017. arXiv:1611.07004 (patches); Miyato, Kataoka, Koyama, Yoshida. ICLR 2018. arXiv:1802.05957 (spectral
    norm).
    """
    halvings = sum(min(size) > SMALLEST << k for k in range(HALVINGS))
    widths = [channels, *(width << k for k in range(halvings))]
    halves = [
        layer
        for inputs, outputs in pairwise(widths)
        for layer in (spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2))
    ]
    return nn.Sequential(*halves, BatchVariety(), spectral_norm(nn.Conv2d(widths[-1] + 1, 1, 3, padding=1)))


class BatchVariety(nn.Module):
    """Appends a channel that has everywhere the mean standard deviation of the features over the batch.

    It shows a discriminator that all images of a batch are alike. (B, C, H, W) → (B, C + 1, H, W).
    Paper: Karras, Aila, Laine, Lehtinen. ICLR 2018. arXiv:1710.10196, sect. 3.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C + 1, H, W)."""
        variety = (x.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([x, variety.expand(len(x), 1, *x.shape[2:])], 1)
