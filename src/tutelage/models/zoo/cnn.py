"""A very small network, for digits, tutorials and tests."""

from __future__ import annotations

from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, average_pool, conv_bn, init_kaiming


class CNN(ZooNetwork):
    """A small plain network: three stages, layer1 … layer3, of one 3×3 convolution, W, 2W and 4W wide.

    Shapes: (B, channels, H, W), any H and W → (B, classes).
    Raises: ConfigError if the width isn't above 0.
    """

    pattern = r"cnn(?P<width>\d+)"
    name_form = "cnnW"
    examples = ("cnn4", "cnn8", "cnn16", "cnn32", "cnn64")

    def __init__(self, classes: int, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"cnn{width}: expected a width of 1 or more.")
        self.layer1 = nn.Sequential(*conv_bn(channels, width, 3), nn.ReLU())
        self.layer2 = nn.Sequential(*conv_bn(width, 2 * width, 3, stride=2), nn.ReLU())
        self.layer3 = nn.Sequential(*conv_bn(2 * width, 4 * width, 3, stride=2), nn.ReLU())
        self.fc = nn.Linear(4 * width, classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, classes)."""
        return self.fc(average_pool(self.layer3(self.layer2(self.layer1(x)))))
