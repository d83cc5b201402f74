"""Networks of residual blocks without norms, for the restoration of images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork


class EDSR(ZooNetwork):
    """Residual blocks for super-resolution and denoising: B blocks, W wide; -xS makes images S times as large.

    layer1: a 3×3 convolution; body: B blocks x + conv(ReLU(conv(x))), in two halves layer2 and layer3, and a
    convolution, added to layer1's output; then pixel shuffle and a convolution. The input, made larger
    bicubically, is added by a 1×1 convolution, so that an untrained network returns it. There is no batch norm.
    Shapes: (B, channels, H, W) → (B, outputs, S·H, S·W).
    Paper: Lim, Son, Kim, Nah, Lee. CVPR workshops 2017. arXiv:1707.02921, which has no such sum with the input.
    Raises: ConfigError if a number isn't above 0.
    """

    pattern = r"edsr(?P<depth>\d+)x(?P<width>\d+)(?:_x(?P<scale>\d))?"
    name_form = "edsrDxW[-xK]"
    examples = ("edsr4x16-x2", "edsr8x32-x2", "edsr16x64")
    task = "restoration"

    def __init__(self, classes: int, channels: int = 3, depth: int = 4, width: int = 16, scale: int = 1) -> None:
        super().__init__()
        if min(depth, width, scale) < 1:
            raise ConfigError(f"edsr{depth}x{width}-x{scale}: expected numbers of 1 or more.")
        self.scale = scale
        self.skip = nn.Conv2d(channels, classes, 1)
        nn.init.dirac_(self.skip.weight)
        nn.init.zeros_(self.skip.bias)  # type: ignore[arg-type]
        self.layer1 = nn.Conv2d(channels, width, 3, padding=1)
        first = depth // 2
        self.layer2 = nn.Sequential(*(ResidualBlock(width) for _ in range(first)))
        self.layer3 = nn.Sequential(*(ResidualBlock(width) for _ in range(depth - first)))
        self.layer4 = nn.Conv2d(width, width, 3, padding=1)
        larger = [nn.Conv2d(width, width * scale**2, 3, padding=1), nn.PixelShuffle(scale)] if scale > 1 else []
        self.upsample = nn.Sequential(*larger)
        self.tail = nn.Conv2d(width, classes, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, outputs, S·H, S·W)."""
        first = self.layer1(x)
        body = first + self.layer4(self.layer3(self.layer2(first)))
        large = x if self.scale == 1 else F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        return self.skip(large) + self.tail(self.upsample(body))


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))), 3×3, without norms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, W, H, W') → same."""
        return x + self.conv2(F.relu(self.conv1(x)))
