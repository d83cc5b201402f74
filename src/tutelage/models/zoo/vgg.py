"""Simonyan, Zisserman: plain deep networks with batch norm, for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.models.zoo.base import ZooNetwork, average_pool, init_kaiming, init_small

CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


class VGG(ZooNetwork):
    """VGG with batch norm and a single linear classifier: five stages, layer1 … layer5, of 3×3 convolutions.

    The map is halved before layer2, layer3 and layer4, and before layer5 if the image is 64 pixels or more.
    Shapes: (B, channels, H, W), H and W at least 8 → (B, classes).
    Paper: Simonyan, Zisserman. ICLR 2015. arXiv:1409.1556; the variant of Tian, Krishnan, Isola. ICLR 2020.
    Raises: ConfigError for another depth than 8, 11, 13, 16, 19; ModelError for an image below 8×8.
    """

    pattern = r"vgg(?P<depth>\d+)(_bn)?"
    name_form = "vggD"
    examples = ("vgg8", "vgg11", "vgg13", "vgg16", "vgg19")
    namesakes = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")

    def __init__(self, classes: int, channels: int = 3, depth: int = 8) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            raise ConfigError(f"VGG: expected a depth of {', '.join(map(str, CONVOLUTIONS))}, got {depth}.")
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5 = (
            stage(inputs, outputs, count)
            for inputs, outputs, count in zip((channels, *WIDTHS), WIDTHS, CONVOLUTIONS[depth], strict=False)
        )
        self.classifier = nn.Linear(WIDTHS[-1], classes)
        init_kaiming(self)
        init_small(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, classes)."""
        size = min(x.shape[2:])
        if size < 8:
            raise ModelError(
                f"VGG halves the image three times: expected 8×8 pixels or more, got {tuple(x.shape[2:])}."
            )
        x = self.layer2(F.max_pool2d(self.layer1(x), 2))
        x = self.layer4(F.max_pool2d(self.layer3(F.max_pool2d(x, 2)), 2))
        x = self.layer5(F.max_pool2d(x, 2) if size >= 64 else x)
        return self.classifier(average_pool(x))


def stage(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """Return `count` 3×3 convolutions of one width, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for width in (inputs, *[outputs] * (count - 1)):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
