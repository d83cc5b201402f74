"""He, Zhang, Ren, Sun: the residual networks of ImageNet, with a stem for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, average_pool, conv_bn, init_kaiming
from tutelage.models.zoo.resnet import BasicBlock

WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """relu(shortcut(x) + the batch norms of convolutions 1×1, 3×3 and 1×1), the last four times as wide."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = conv_bn(inputs, width, 1)
        self.conv2, self.bn2 = conv_bn(width, width, 3, stride)
        self.conv3, self.bn3 = conv_bn(width, outputs, 1)
        same = stride == 1 and inputs == outputs
        self.downsample = nn.Identity() if same else nn.Sequential(*conv_bn(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, 4·width, H/stride, W/stride)."""
        out = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""The blocks of each stage by depth; from 50 on they are bottlenecks."""


class CifarResNet(ZooNetwork):
    """ResNet-18, 34, 50, 101 or 152 for small images: a 3×3 stem and four stages, layer1 … layer4, 64 to 512 wide.

    The stem neither strides nor pools. This is the ResNet-18 of the literature on self-distillation, and the ResNet-50
    of the distillation benchmark.
    Shapes: (B, channels, H, W), any H and W → (B, classes).
    Paper: He, Zhang, Ren, Sun. CVPR 2016. arXiv:1512.03385, table 1, without its stem.
    Raises: ConfigError for another depth.
    """

    pattern = r"resnet(?P<depth>\d+)_cifar"
    name_form = "resnetD_cifar"
    examples = ("resnet18_cifar", "resnet50_cifar")

    def __init__(self, classes: int, channels: int = 3, depth: int = 18) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ConfigError(f"ResNet of ImageNet: expected a depth of {', '.join(map(str, BLOCKS))}, got {depth}.")
        block, wider = (BasicBlock, 1) if depth < 50 else (Bottleneck, 4)
        inputs = (64, *(wider * width for width in WIDTHS))
        self.conv1, self.bn1 = conv_bn(channels, 64, 3)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(block(before, width, stride), *(block(wider * width, width, 1) for _ in range(count - 1)))
            for before, width, stride, count in zip(inputs, WIDTHS, (1, 2, 2, 2), BLOCKS[depth], strict=False)
        )
        self.fc = nn.Linear(inputs[-1], classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, classes)."""
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(average_pool(self.layer4(self.layer3(x))))
