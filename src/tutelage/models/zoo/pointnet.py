"""Qi, Su, Mo, Guibas: PointNet, for points in any order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, init_kaiming


class PointNet(ZooNetwork):
    """PointNet, W wide: the same small network for each point, and the maximum over points.

    The stages are layer1 … layer3, W, 2W and 16W wide, whose positions are the points; linear layers of 8W and 4W
    classify. pointnet-t-W first multiplies the coordinates by a 3×3 matrix that a smaller such network (`align`)
    predicts, the identity at first. The order of the points doesn't matter.
    Shapes: (B, channels, N), any N → (B, classes).
    Paper: Qi, Su, Mo, Guibas. CVPR 2017. arXiv:1612.00593, which is 64 wide; the transform of features and
    dropout are left out.
    Raises: ConfigError if the width isn't above 0.
    """

    pattern = r"pointnet(?P<transform>_t)?_(?P<width>\d+)"
    name_form = "pointnet[-t]-W"
    examples = ("pointnet-8", "pointnet-64", "pointnet-t-64")
    dimensions = 1

    def __init__(self, classes: int, channels: int = 3, width: int = 64, transform: bool = False) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"pointnet-{width}: expected a width of 1 or more.")
        self.align = Alignment(min(channels, 3), width) if transform else nn.Identity()
        self.layer1 = shared_layers(channels, width, width)
        self.layer2 = shared_layers(width, width, 2 * width)
        self.layer3 = shared_layers(2 * width, 16 * width)
        self.classifier = linear_layers(16 * width, 8 * width, 4 * width)
        self.fc = nn.Linear(4 * width, classes)
        init_kaiming(self)

    @classmethod
    def parse(cls, groups: dict[str, str | None]) -> dict[str, Any]:
        """Return the width, and whether there is a transform."""
        return {"transform": groups["transform"] is not None, "width": int(groups["width"] or 0)}

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, N) → (B, classes)."""
        points = self.layer3(self.layer2(self.layer1(self.align(x))))
        return self.fc(self.classifier(points.amax(2)))


class Alignment(nn.Module):
    """A matrix for each cloud's coordinates, the identity at first, and their product.

    Shapes: (B, channels, N) → the same.

    Args:
        coordinates: the number of channels that are coordinates, the first ones.
        width: the width of the first layer.
    """

    def __init__(self, coordinates: int, width: int) -> None:
        super().__init__()
        self.points = shared_layers(coordinates, width, 4 * width)
        self.matrix = nn.Linear(4 * width, coordinates * coordinates)
        nn.init.normal_(self.matrix.weight, 0.0, 1e-3)
        with torch.no_grad():
            self.matrix.bias.copy_(torch.eye(coordinates).flatten())

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, N) → the same."""
        side = min(x.shape[1], 3)
        matrix = self.matrix(self.points(x[:, :side]).amax(2)).view(-1, side, side)
        return torch.cat([matrix @ x[:, :side], x[:, side:]], 1)


def shared_layers(*widths: int) -> nn.Sequential:
    """Return convolutions of single points with batch norm and ReLU, of these numbers of channels."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def linear_layers(*widths: int) -> nn.Sequential:
    """Return linear layers with batch norm and ReLU, of these widths."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
