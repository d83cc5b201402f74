"""A multi-layer perceptron, for the rows of a table."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.models.zoo.base import ZooNetwork


class MLP(ZooNetwork):
    """A multi-layer perceptron for the rows of a table: hidden layers of these widths, with ReLU.

    The hidden layers are layers.0, layers.1 …; `-bn` at the end of the name puts batch norm before each ReLU.
    Shapes: (B, channels), the columns → (B, classes).
    Raises: ConfigError if a width isn't above 0; ModelError for inputs that aren't rows.
    """

    pattern = r"mlp_(?P<widths>\d+(?:_\d+)*)(?P<norm>_bn)?"
    name_form = "mlp-W-…[-bn]"
    examples = ("mlp-32", "mlp-64-64", "mlp-128-128-bn")
    dimensions = 0

    def __init__(self, classes: int, channels: int = 3, widths: tuple[int, ...] = (64, 64), norm: bool = False) -> None:
        super().__init__()
        if min(widths) < 1:
            raise ConfigError(f"mlp-{'-'.join(map(str, widths))}: expected widths of 1 or more.")
        self.layers = nn.Sequential(*(hidden(*pair, norm) for pair in pairwise((channels, *widths))))
        self.fc = nn.Linear(widths[-1], classes)

    @classmethod
    def parse(cls, groups: dict[str, str | None]) -> dict[str, Any]:
        """Return the widths, and whether there is batch norm."""
        return {"widths": tuple(map(int, str(groups["widths"]).split("_"))), "norm": groups["norm"] is not None}

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels) → (B, classes)."""
        if x.dim() != 2:
            raise ModelError(f"an MLP takes rows (B, columns), got {tuple(x.shape)}; use a convolutional network.")
        return self.fc(self.layers(x))


def hidden(inputs: int, outputs: int, norm: bool) -> nn.Sequential:
    """Build a hidden layer."""
    return nn.Sequential(nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if norm else []), nn.ReLU())
