"""Sandler, Howard, Zhu, Zhmoginov, Chen: inverted residuals and linear bottlenecks."""

from __future__ import annotations

from torch import Tensor, nn

from tutelage.models.zoo.base import ZooNetwork, average_pool, conv_bn, init_kaiming, init_small

EXPANSION = 6


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise 3×3, project 1×1 without activation; the input is added if the shape stays the same."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.conv = nn.Sequential(
            *conv_bn(inputs, wide, 1), nn.ReLU(),
            *conv_bn(wide, wide, 3, stride, groups=wide), nn.ReLU(),
            *conv_bn(wide, outputs, 1),
        )  # fmt: skip
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H/stride, W/stride)."""
        return x + self.conv(x) if self.same else self.conv(x)


class MobileNetV2(ZooNetwork):
    """MobileNetV2 for small images: four stages, layer1 … layer4, of inverted residuals, and a 1280-wide head.

    As in the benchmark, the stages' strides are 1, 2, 2, 2 after a stem of stride 2 (the paper's first stage halves the
    map too), a width scales every stage but the head, and widths aren't rounded to multiples of 8.
    Shapes: (B, channels, H, W), any H and W → (B, classes).
    Paper: Sandler, Howard, Zhu, Zhmoginov, Chen. CVPR 2018. arXiv:1801.04381; the variant of Tian, Krishnan, Isola.
    ICLR 2020.
    """

    pattern = r"mobilenetv2(_(?P<width>half))?"
    name_form = "mobilenetv2[_half]"
    examples = ("mobilenetv2", "mobilenetv2_half")

    def __init__(self, classes: int, channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        stem, *widths = (int(width * c) for c in (32, 16, 24, 32, 64, 96, 160, 320))
        w1, w2, w3, w4, w5, w6, w7 = widths
        self.conv1 = nn.Sequential(*conv_bn(channels, stem, 3, stride=2), nn.ReLU())
        self.layer1 = nn.Sequential(*blocks(stem, w1, 1, 1, expansion=1), *blocks(w1, w2, 2, 1))
        self.layer2 = nn.Sequential(*blocks(w2, w3, 3, 2))
        self.layer3 = nn.Sequential(*blocks(w3, w4, 4, 2), *blocks(w4, w5, 3, 1))
        self.layer4 = nn.Sequential(*blocks(w5, w6, 3, 2), *blocks(w6, w7, 1, 1))
        self.conv2 = nn.Sequential(*conv_bn(w7, 1280, 1), nn.ReLU())
        self.classifier = nn.Linear(1280, classes)
        init_kaiming(self)
        init_small(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, classes)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.classifier(average_pool(self.conv2(x)))


def blocks(inputs: int, outputs: int, count: int, stride: int, expansion: int = EXPANSION) -> list[nn.Module]:
    """Return blocks of one width, the first of which changes the shape."""
    rest = (InvertedResidual(outputs, outputs, 1, expansion) for _ in range(count - 1))
    return [InvertedResidual(inputs, outputs, stride, expansion), *rest]
