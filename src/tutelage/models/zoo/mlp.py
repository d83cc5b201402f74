"""Multilayer perceptrons, for rows of tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

from torch import Tensor, nn

from tutelage.errors import ConfigError, shown
from tutelage.models.zoo.base import LARGEST, ZooNetwork


class MLP(ZooNetwork):
    """A multilayer perceptron for rows of tables: hidden layers of these widths, layer1 …, with batch norm and ReLU.

    Shapes: (B, channels) → (B, classes).
    Raises: ConfigError if a width isn't above 0.
    """

    pattern = r"mlp((?:_\d+)+)"
    name_form = "mlp-W-W…"
    examples = ("mlp-32", "mlp-64-64", "mlp-256-256-256")

    def __init__(self, classes: int, channels: int = 8, widths: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        sizes = [channels, *widths]
        if min(sizes) < 1:
            raise ConfigError(f"mlp-{'-'.join(map(str, widths))}: expected widths of 1 or more.")
        layers = [
            nn.Sequential(nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU())
            for before, after in pairwise(sizes)
        ]
        self.hidden = [f"layer{number}" for number in range(1, len(sizes))]
        for name, layer in zip(self.hidden, layers, strict=True):
            self.add_module(name, layer)
        self.fc = nn.Linear(sizes[-1], classes)

    @classmethod
    def from_name(cls, name: str, classes: int, channels: int = 8) -> Self | None:
        """Create the network of that name; None if the name isn't one of this family."""
        match = re.fullmatch(cls.pattern, name.replace("-", "_"))
        if match is None:
            return None
        widths = [int(width) for width in match[1].split("_")[1:]]
        if max(widths) > LARGEST or len(widths) > LARGEST // 100:
            raise ConfigError(f"{shown(name)}: expected at most {LARGEST // 100} widths up to {LARGEST:,}.")
        return cls(classes, channels, widths)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels) → (B, classes)."""
        for name in self.hidden:
            x = self.get_submodule(name)(x)
        return self.fc(x)
