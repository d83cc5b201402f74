"""Classifiers of intermediate features; they are used in training only and aren't exported with the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tutelage.nn.blocks import BatchNorm
from tutelage.nn.connectors import as_map, resize
from tutelage.nn.maps import average_positions, conv, dimensions_of


class BottleneckClassifier(nn.Module):
    """A bottleneck from a feature to the shape of a deeper one, and a linear classifier of its mean over positions.

    Convolutions: 1×1 to a quarter of the deeper feature's channels, 3×3 with the stride between the two, 1×1 to the
    deeper feature's channels, each with batch norm and ReLU.

    Args:
        feature: An example of the feature, a map (B, C, …).
        deeper: An example of the deeper feature, (B, D, …).
        classes: The number of logits.
    """

    def __init__(self, feature: Tensor, deeper: Tensor, classes: int) -> None:
        super().__init__()
        feature, deeper = as_map(feature), as_map(deeper)
        dimensions = dimensions_of(feature)
        channels, stride = deeper.shape[1], max(round(feature.shape[-1] / deeper.shape[-1]), 1)
        narrow = max(channels // 4, 1)
        self.bottleneck = nn.Sequential(
            conv(dimensions, feature.shape[1], narrow, bias=False), BatchNorm(narrow), nn.ReLU(),
            conv(dimensions, narrow, narrow, 3, stride=stride, padding=1, bias=False), BatchNorm(narrow), nn.ReLU(),
            conv(dimensions, narrow, channels, bias=False), BatchNorm(channels), nn.ReLU(),
        )  # fmt: skip
        self.size = tuple(deeper.shape[2:])
        self.fc = nn.Linear(channels, classes)
        self.to(feature)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, …) → the transformed feature (B, D, …) and the logits (B, classes)."""
        transformed = resize(self.bottleneck(as_map(feature)), self.size)
        return transformed, self.fc(average_positions(transformed))


class ConcatClassifier(nn.Module):
    """A classifier of several concatenated features of one size.

    A 1×1 convolution reduces the concatenation to the last feature's channels; a linear layer classifies its mean over
    positions.

    Args:
        features: An example of the features, maps (B, C_l, …).
        classes: The number of logits.
    """

    def __init__(self, features: Sequence[Tensor], classes: int) -> None:
        super().__init__()
        maps = [as_map(feature) for feature in features]
        self.conv = conv(dimensions_of(maps[-1]), sum(x.shape[1] for x in maps), maps[-1].shape[1], bias=False)
        self.fc = nn.Linear(maps[-1].shape[1], classes)
        self.to(maps[-1])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_l, …) → the logits (B, classes)."""
        maps = torch.cat([as_map(feature) for feature in features], dim=1)
        return self.fc(average_positions(self.conv(maps)))
