"""Zagoruyko, Komodakis: wide residual networks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, average_pool, init_kaiming


class WideBlock(nn.Module):
    """shortcut + conv(relu(bn(conv(relu(bn(x)))))), 3×3 each; a 1×1 shortcut branches off after the first relu."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H/stride, W/stride)."""
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(ZooNetwork):
    """Wide ResNet: three stages, layer1 … layer3, of (depth − 4)/6 pre-activation blocks, 16k, 32k and 64k wide.

    A stage's output isn't yet normalised and activated: the next stage does that. No dropout, as in the benchmark.
    Shapes: (B, channels, H, W), any H and W → (B, classes).
    Paper: Zagoruyko, Komodakis. BMVC 2016. arXiv:1605.07146.
    Raises: ConfigError if the depth isn't 6n + 4 or the width isn't above 0.
    """

    pattern = r"wrn_(?P<depth>\d+)_(?P<width>\d+)"
    name_form = "wrn_D_K"
    examples = ("wrn_16_1", "wrn_16_2", "wrn_16_4", "wrn_40_1", "wrn_40_2", "wrn_40_4", "wrn_28_10")

    def __init__(self, classes: int, channels: int = 3, depth: int = 16, width: int = 2) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4 or width < 1:
            raise ConfigError(f"wide ResNet: expected a depth of 6n + 4 (10, 16, 28, 40 …) and a width of 1 or more, "
                              f"got depth {depth}, width {width}.")  # fmt: skip
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.layer1 = stage(16, 16 * width, blocks, stride=1)
        self.layer2 = stage(16 * width, 32 * width, blocks, stride=2)
        self.layer3 = stage(32 * width, 64 * width, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, classes)
        init_kaiming(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, classes)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(average_pool(F.relu(self.bn1(x))))


def stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """Return blocks of one width, the first of which changes the shape."""
    first = WideBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(WideBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
