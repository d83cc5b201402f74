"""Maturana, Scherer: VoxNet, for grids of voxels."""

from __future__ import annotations

from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, init_kaiming
from tutelage.models.zoo.pointnet import linear_layers
from tutelage.nn.maps import adaptive_avg_pool

CELLS = 3
"""The cells along each side of what the linear layers see."""


class VoxNet(ZooNetwork):
    """VoxNet, W wide: 5×5×5 convolutions that halve the grid, 3×3×3 ones and a maximum that halves it again.

    The stages are layer1 and layer2, both W wide; linear layers of 4W classify their means in 3×3×3 cells, so that
    any size can be used.
    Shapes: (B, channels, D, H, W), any size → (B, classes).
    Paper: Maturana, Scherer. IROS 2015, which is 32 wide for 32×32×32; batch norm takes the place of dropout.
    Raises: ConfigError if the width isn't above 0.
    """

    pattern = r"voxnet_(?P<width>\d+)"
    name_form = "voxnet-W"
    examples = ("voxnet-4", "voxnet-8", "voxnet-32")
    dimensions = 3

    def __init__(self, classes: int, channels: int = 1, width: int = 32) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"voxnet-{width}: expected a width of 1 or more.")
        first = nn.Conv3d(channels, width, 5, 2, padding=2, bias=False)
        second = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.layer1 = nn.Sequential(first, nn.BatchNorm3d(width), nn.ReLU())
        pool = nn.MaxPool3d(2, ceil_mode=True)
        self.layer2 = nn.Sequential(second, nn.BatchNorm3d(width), nn.ReLU(), pool)
        self.classifier = linear_layers(CELLS**3 * width, 4 * width)
        self.fc = nn.Linear(4 * width, classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W) → (B, classes)."""
        return self.fc(self.classifier(adaptive_avg_pool(self.layer2(self.layer1(x)), CELLS).flatten(1)))
