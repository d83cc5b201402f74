"""He, Zhang, Ren, Sun: residual networks for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, average_pool, conv_bn, init_kaiming


class BasicBlock(nn.Module):
    """relu(shortcut(x) + bn(conv(relu(bn(conv(x)))))), 3×3 each."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, outputs, 3, stride)
        self.conv2, self.bn2 = conv_bn(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.downsample = nn.Identity() if same else nn.Sequential(*conv_bn(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H/stride, W/stride)."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.downsample(x))


class ResNet(ZooNetwork):
    """ResNet for small images: a 3×3 stem and three stages, layer1 … layer3, of (depth − 2)/6 basic blocks.

    The stages are 16k, 32k and 64k wide, the stem 16, or 32 if k is 4 or more; where the shape changes the shortcut is
    a 1×1 convolution with batch norm. Parameter names are those of the distillation benchmark's checkpoints.
    Shapes: (B, channels, H, W), any H and W → (B, classes).
    Paper: He, Zhang, Ren, Sun. CVPR 2016. arXiv:1512.03385, section 4.2; widths as in Tian, Krishnan, Isola. ICLR 2020.
    Raises: ConfigError if the depth isn't 6n + 2 or the width isn't above 0.
    """

    pattern = r"resnet(?P<depth>\d+)(x(?P<width>\d+))?"
    name_form = "resnetD[xK]"
    examples = (
        "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110",
        "resnet8x4", "resnet32x4", "resnet110x2",
    )  # fmt: skip
    namesakes = ("resnet26", "resnet50", "resnet152", "resnet200")

    def __init__(self, classes: int, channels: int = 3, depth: int = 20, width: int = 1) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2 or width < 1:
            raise ConfigError(f"ResNet for small images: expected a depth of 6n + 2 (8, 14, 20 …) and a width of 1 or "
                              f"more, got depth {depth}, width {width}.")  # fmt: skip
        stem, blocks = 16 if width < 4 else 32, (depth - 2) // 6
        self.conv1, self.bn1 = conv_bn(channels, stem, 3)
        self.layer1 = stage(stem, 16 * width, blocks, stride=1)
        self.layer2 = stage(16 * width, 32 * width, blocks, stride=2)
        self.layer3 = stage(32 * width, 64 * width, blocks, stride=2)
        self.fc = nn.Linear(64 * width, classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(average_pool(self.layer3(self.layer2(self.layer1(x)))))


def stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """Return blocks of one width, the first of which changes the shape."""
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
