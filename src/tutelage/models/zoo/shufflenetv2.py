"""Ma, Zhang, Zheng, Sun: split channels, convolve one half, shuffle."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, average_pool, conv_bn, shuffle_channels

WIDTHS = {0.5: (48, 96, 192, 1024), 1: (116, 232, 464, 1024), 1.5: (176, 352, 704, 1024), 2: (244, 488, 976, 2048)}


def branch(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return 1×1, depthwise 3×3 and 1×1 convolutions."""
    return nn.Sequential(
        *conv_bn(inputs, outputs, 1), nn.ReLU(),
        *conv_bn(outputs, outputs, 3, stride, groups=outputs),
        *conv_bn(outputs, outputs, 1), nn.ReLU(),
    )  # fmt: skip


class SplitUnit(nn.Module):
    """Half of the channels pass unchanged, the other half are convolved; then all are shuffled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.right = branch(width // 2, width // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        left, right = x.chunk(2, 1)
        return shuffle_channels(torch.cat([left, self.right(right)], 1), 2)


class DownUnit(nn.Module):
    """Both branches take all channels and halve the map; their outputs are shuffled."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.left = nn.Sequential(*conv_bn(inputs, inputs, 3, 2, groups=inputs), *conv_bn(inputs, half, 1), nn.ReLU())
        self.right = branch(inputs, half, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H/2, W/2)."""
        return shuffle_channels(torch.cat([self.left(x), self.right(x)], 1), 2)


class ShuffleNetV2(ZooNetwork):
    """ShuffleNetV2 for small images: a 1×1 stem and three stages, layer1 … layer3, of 4, 8 and 4 units.

    As in the benchmark, the stem neither strides nor pools, and the weights have torch's default initialisation.
    Shapes: (B, channels, H, W), any H and W → (B, classes).
    Paper: Ma, Zhang, Zheng, Sun. ECCV 2018. arXiv:1807.11164; the variant of Tian, Krishnan, Isola. ICLR 2020.
    Raises: ConfigError for another width than 0.5, 1, 1.5, 2.
    """

    pattern = r"shufflenetv2(_(?P<width>\d+(\.\d+)?)x)?"
    name_form = "shufflenetv2[_Kx]"
    examples = ("shufflenetv2", "shufflenetv2_0.5x", "shufflenetv2_1.5x", "shufflenetv2_2x")

    def __init__(self, classes: int, channels: int = 3, width: float = 1) -> None:
        super().__init__()
        if width not in WIDTHS:
            raise ConfigError(f"ShuffleNetV2: expected a width of {', '.join(map(str, WIDTHS))}, got {width}.")
        w1, w2, w3, head = WIDTHS[width]
        self.conv1, self.bn1 = conv_bn(channels, 24, 1)
        self.layer1 = stage(24, w1, 3)
        self.layer2 = stage(w1, w2, 7)
        self.layer3 = stage(w2, w3, 3)
        self.conv2, self.bn2 = conv_bn(w3, head, 1)
        self.fc = nn.Linear(head, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(average_pool(F.relu(self.bn2(self.conv2(x)))))


def stage(inputs: int, outputs: int, units: int) -> nn.Sequential:
    """Return a unit that halves the map, and `units` that keep its size."""
    return nn.Sequential(DownUnit(inputs, outputs), *(SplitUnit(outputs) for _ in range(units)))
