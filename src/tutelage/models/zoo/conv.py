"""Small plain convolutional networks for series and for voxels."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, init_kaiming
from tutelage.nn.maps import average_positions, conv

NORMS: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 3: nn.BatchNorm3d}
DEEPEST = 8
"""The largest number of stages: each doubles the width."""


class PlainStages(nn.Module):
    """Stages layer1 … of a convolution, batch norm and ReLU, and a linear layer on the mean over positions.

    The first stage keeps the size, each later one halves it and is twice as wide.
    """

    dimensions: ClassVar[int]
    kernel: ClassVar[int]

    def __init__(self, classes: int, channels: int = 3, depth: int = 3, width: int = 8) -> None:
        super().__init__()
        if not 1 <= depth <= DEEPEST or width < 1:
            name = f"conv{self.dimensions}d-{depth}-{width}"
            raise ConfigError(f"{name}: expected a depth from 1 to {DEEPEST} and a width of 1 or more.")
        for k in range(depth):
            out_channels = width * 2**k
            convolution = conv(
                self.dimensions,
                channels,
                out_channels,
                self.kernel,
                stride=min(k + 1, 2),
                padding=self.kernel // 2,
                bias=False,
            )
            stage = nn.Sequential(convolution, NORMS[self.dimensions](out_channels), nn.ReLU())
            self.add_module(f"layer{k + 1}", stage)
            channels = out_channels
        self.fc = nn.Linear(width * 2 ** (depth - 1), classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, …) → (B, classes)."""
        *layers, _ = self.children()
        for layer in layers:
            x = layer(x)
        return self.fc(average_positions(x))


class Conv1D(PlainStages, ZooNetwork):
    """A plain network for series: D stages of one convolution of size 5, W wide at first.

    The stages are layer1 … layerD; each later one is twice as wide and half as long. A linear layer classifies the mean
    over positions.
    Shapes: (B, channels, T), any T → (B, classes).
    Raises: ConfigError if the depth isn't from 1 to 8, or the width isn't above 0.
    """

    pattern = r"conv1d_(?P<depth>\d+)_(?P<width>\d+)"
    name_form = "conv1d-D-W"
    examples = ("conv1d-3-8", "conv1d-4-16", "conv1d-5-32")
    dimensions, kernel = 1, 5


class Conv3D(PlainStages, ZooNetwork):
    """A plain network for voxels: D stages of one 3×3×3 convolution, W wide at first.

    The stages are layer1 … layerD; each later one is twice as wide, and each of its sides half as long. A linear layer
    classifies the mean over positions.
    Shapes: (B, channels, D, H, W), any size → (B, classes).
    Raises: ConfigError if the depth isn't from 1 to 8, or the width isn't above 0.
    """

    pattern = r"conv3d_(?P<depth>\d+)_(?P<width>\d+)"
    name_form = "conv3d-D-W"
    examples = ("conv3d-3-4", "conv3d-3-8", "conv3d-4-16")
    dimensions, kernel = 3, 3
