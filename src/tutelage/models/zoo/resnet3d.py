"""Residual networks of three dimensions, for clips and voxels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, init_kaiming
from tutelage.nn.maps import average_positions

STAGES = 4
"""The number of stages: each but the first halves all sides, and is twice as wide as the one before."""


def conv_bn_3d(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Return a convolution that keeps the size (apart from its stride), and its batch norm."""
    conv = nn.Conv3d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm3d(outputs)]


class BasicBlock3D(nn.Module):
    """relu(shortcut(x) + bn(conv(relu(bn(conv(x)))))), 3×3×3 each."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn_3d(inputs, outputs, 3, stride)
        self.conv2, self.bn2 = conv_bn_3d(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.downsample = nn.Identity() if same else nn.Sequential(*conv_bn_3d(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C', T/stride, H/stride, W/stride)."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.downsample(x))


class ResNet3D(ZooNetwork):
    """A residual network of clips: a 3×3×3 stem, and stages layer1 … layer4 of (depth − 2)/8 basic blocks.

    The stages are W, 2W, 4W and 8W wide; each but the first halves the number of frames, the height and the width. A
    linear layer classifies the mean over positions. Published networks have a stem of 3×7×7 that halves the height and
    width, which is left out for small frames.
    Shapes: (B, channels, T, H, W), any size → (B, classes).
    Paper: Hara, Kataoka, Satoh. ICCV Workshops 2017. arXiv:1708.07632 (3D ResNet).
    Raises: ConfigError if the depth isn't 8n + 2 or the width isn't above 0.
    """

    pattern = r"r3d(?P<depth>\d+)_(?P<width>\d+)"
    name_form = "r3dD-W"
    examples = ("r3d10-4", "r3d10-16", "r3d18-64")
    dimensions = 3

    def __init__(self, classes: int, channels: int = 3, depth: int = 10, width: int = 16) -> None:
        super().__init__()
        if depth < 10 or depth % 8 != 2 or width < 1:
            raise ConfigError(
                f"r3d{depth}-{width}: expected a depth of 8n + 2 (10, 18, 26 …) and a width of 1 or more."
            )
        self.conv1, self.bn1 = conv_bn_3d(channels, width, 3)
        inputs = width
        for k in range(STAGES):
            outputs = width * 2**k
            blocks = [BasicBlock3D(inputs, outputs, min(k + 1, 2))]
            blocks += [BasicBlock3D(outputs, outputs, 1) for _ in range((depth - 2) // (2 * STAGES) - 1)]
            self.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T, H, W) → (B, classes)."""
        conv1, bn1, *layers, _ = self.children()
        x = F.relu(bn1(conv1(x)))
        for layer in layers:
            x = layer(x)
        return self.fc(average_positions(x))
