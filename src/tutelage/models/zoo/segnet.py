"""A small encoder-decoder network for segmentation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, conv_bn, init_kaiming


class SegNet(ZooNetwork):
    """A small segmentation network: stages layer1 … layer4, W, 2W, 4W, 8W wide, each half the size of the previous one.

    The decoder projects each stage to the width of the previous one (1×1), upsamples it bilinearly and adds it:
    d₃ = e₃ + up(c₄(e₄)), d₂ = e₂ + up(c₃(d₃)), d₁ = e₁ + up(c₂(d₂)); classifier(conv3×3(d₁)).
    Shapes: (B, channels, H, W), any H and W → (B, classes, H, W).
    Raises: ConfigError if the width isn't above 0.
    """

    pattern = r"seg(?P<width>\d+)"
    name_form = "segW"
    examples = ("seg8", "seg16", "seg32")
    task = "segmentation"

    def __init__(self, classes: int, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"seg{width}: expected a width of 1 or more.")
        w1, w2, w3, w4 = width, 2 * width, 4 * width, 8 * width
        self.layer1 = stage(channels, w1, stride=1)
        self.layer2 = stage(w1, w2, stride=2)
        self.layer3 = stage(w2, w3, stride=2)
        self.layer4 = stage(w3, w4, stride=2)
        self.up4, self.up3, self.up2 = nn.Conv2d(w4, w3, 1), nn.Conv2d(w3, w2, 1), nn.Conv2d(w2, w1, 1)
        self.decoded = nn.Sequential(*conv_bn(w1, w1, 3), nn.ReLU())
        self.classifier = nn.Conv2d(w1, classes, 1)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, classes, H, W)."""
        e1 = self.layer1(x)
        e2 = self.layer2(e1)
        e3 = self.layer3(e2)
        d3 = e3 + upsample_to(self.up4(self.layer4(e3)), e3)
        d2 = e2 + upsample_to(self.up3(d3), e2)
        d1 = e1 + upsample_to(self.up2(d2), e1)
        return self.classifier(self.decoded(d1))


def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return two 3×3 convolutions with batch norm and ReLU."""
    return nn.Sequential(*conv_bn(inputs, outputs, 3, stride), nn.ReLU(), *conv_bn(outputs, outputs, 3), nn.ReLU())


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize x bilinearly to the height and width of `like`."""
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
