"""A small U-Net, for maps of values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, init_kaiming
from tutelage.models.zoo.segnet import stage, upsample_to


class UNet(ZooNetwork):
    """A small U-Net for maps: stages layer1 … layer3, W, 2W, 4W wide, each half the size of the previous one.

    The decoder upsamples bilinearly, joins the channels of the stage of that size, and convolves twice (up2, up1).
    Shapes: (B, channels, H, W), any H and W → (B, outputs, H, W).
    Paper: Ronneberger, Fischer, Brox. MICCAI 2015. arXiv:1505.04597, which is larger and doesn't pad.
    Raises: ConfigError if the width isn't above 0.
    """

    pattern = r"unet(?P<width>\d+)"
    name_form = "unetW"
    examples = ("unet4", "unet8", "unet16")
    task = "depth"

    def __init__(self, classes: int, channels: int = 3, width: int = 8) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"unet{width}: expected a width of 1 or more.")
        self.layer1 = stage(channels, width, stride=1)
        self.layer2 = stage(width, 2 * width, stride=2)
        self.layer3 = stage(2 * width, 4 * width, stride=2)
        self.up2 = stage(6 * width, 2 * width, stride=1)
        self.up1 = stage(3 * width, width, stride=1)
        self.head = nn.Conv2d(width, classes, 1)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, outputs, H, W)."""
        e1 = self.layer1(x)
        e2 = self.layer2(e1)
        e3 = self.layer3(e2)
        d2 = self.up2(torch.cat([upsample_to(e3, e2), e2], 1))
        d1 = self.up1(torch.cat([upsample_to(d2, e1), e1], 1))
        return self.head(d1)
