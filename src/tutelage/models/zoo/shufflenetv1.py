"""Zhang, Zhou, Lin, Sun: grouped 1×1 convolutions with shuffled channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.models.zoo.base import ZooNetwork, average_pool, conv_bn, shuffle_channels

GROUPS = 3
STEM = 24


class ShuffleUnit(nn.Module):
    """Grouped 1×1, shuffle, depthwise 3×3, grouped 1×1; x is added, or pooled and concatenated if the map is halved."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        new = outputs - inputs if stride == 2 else outputs
        self.groups = 1 if inputs == STEM else GROUPS
        middle = new // 4
        self.conv1, self.bn1 = conv_bn(inputs, middle, 1, groups=self.groups)
        self.conv2, self.bn2 = conv_bn(middle, middle, 3, stride, groups=middle)
        self.conv3, self.bn3 = conv_bn(middle, new, 1, groups=GROUPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H/stride, W/stride)."""
        out = shuffle_channels(F.relu(self.bn1(self.conv1(x))), self.groups)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        if self.stride == 1:
            return F.relu(out + x)
        return F.relu(torch.cat([out, F.avg_pool2d(x, 3, stride=2, padding=1)], 1))


class ShuffleNetV1(ZooNetwork):
    """ShuffleNet with 3 groups, for small images: a 1×1 stem and three stages, layer1 … layer3, 240, 480, 960 wide.

    As in the benchmark, a unit has a ReLU after its second convolution, which the paper omits, and the weights have
    torch's default initialisation.
    Shapes: (B, channels, H, W), any H and W → (B, classes).
    Paper: Zhang, Zhou, Lin, Sun. CVPR 2018. arXiv:1707.01083; the variant of Tian, Krishnan, Isola. ICLR 2020.
    """

    pattern = r"shufflenetv1"
    name_form = "shufflenetv1"
    examples = ("shufflenetv1",)

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels, STEM, 1)
        self.layer1 = stage(STEM, 240, 4)
        self.layer2 = stage(240, 480, 8)
        self.layer3 = stage(480, 960, 4)
        self.fc = nn.Linear(960, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(average_pool(self.layer3(self.layer2(self.layer1(x)))))


def stage(inputs: int, outputs: int, units: int) -> nn.Sequential:
    """Return units of one width, the first of which halves the map."""
    return nn.Sequential(ShuffleUnit(inputs, outputs, 2), *(ShuffleUnit(outputs, outputs, 1) for _ in range(units - 1)))
