"""Multilayer perceptrons, for rows of tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.models.zoo.base import ZooNetwork


class MLP(ZooNetwork):
    """A multilayer perceptron for rows of tables: hidden layers of these widths, layer1 …, with batch norm and ReLU.

    `-plain` at the end of the name leaves batch norm out.
    Shapes: (B, channels), the columns → (B, classes).
    Raises: ConfigError if a width isn't above 0; ModelError for inputs that aren't rows.
    """

    pattern = r"mlp_(?P<widths>\d+(?:_\d+)*)(?P<plain>_plain)?"
    name_form = "mlp-W-W…[-plain]"
    examples = ("mlp-32", "mlp-64-64", "mlp-256-256-256")
    dimensions = 0

    def __init__(self, classes: int, channels: int = 8, widths: Sequence[int] = (64, 64), plain: bool = False) -> None:
        super().__init__()
        sizes = [channels, *widths]
        if min(sizes) < 1:
            raise ConfigError(f"mlp-{'-'.join(map(str, widths))}: expected widths of 1 or more.")
        layers = [hidden(*pair, plain) for pair in pairwise(sizes)]
        self.hidden = [f"layer{number}" for number in range(1, len(sizes))]
        for name, layer in zip(self.hidden, layers, strict=True):
            self.add_module(name, layer)
        self.fc = nn.Linear(sizes[-1], classes)

    @classmethod
    def parse(cls, groups: dict[str, str | None]) -> dict[str, Any]:
        """Return the widths, and whether there is no batch norm."""
        return {"widths": tuple(map(int, str(groups["widths"]).split("_"))), "plain": groups["plain"] is not None}

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels) → (B, classes)."""
        if x.dim() != 2:
            raise ModelError(f"an MLP takes rows (B, columns), got {tuple(x.shape)}; use a convolutional network.")
        for name in self.hidden:
            x = self.get_submodule(name)(x)
        return self.fc(x)


def hidden(inputs: int, outputs: int, plain: bool) -> nn.Sequential:
    """Build a hidden layer."""
    norm = [] if plain else [nn.BatchNorm1d(outputs)]
    return nn.Sequential(nn.Linear(inputs, outputs, bias=plain), *norm, nn.ReLU())
