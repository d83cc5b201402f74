"""Networks of series that know the order of times: recurrent, and dilated convolutions of the past."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, init_kaiming

DEEPEST = 12
"""The largest number of layers."""


class GRUNetwork(ZooNetwork):
    """Gated recurrent units: D layers, W wide, layer1 …, whose last time's output a linear layer maps to the outputs.

    Shapes: (B, channels, T), any T → (B, classes).
    Paper: Cho, van Merriënboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio. EMNLP 2014. arXiv:1406.1078.
    Raises: ConfigError if the depth isn't from 1 to 12, or the width isn't above 0.
    """

    pattern = r"gru_(?P<depth>\d+)_(?P<width>\d+)"
    name_form = "gru-D-W"
    examples = ("gru-1-16", "gru-1-64", "gru-2-64")
    dimensions = 1

    def __init__(self, classes: int, channels: int = 1, depth: int = 1, width: int = 32) -> None:
        super().__init__()
        refuse_sizes(f"gru-{depth}-{width}", depth, width)
        for k in range(depth):
            self.add_module(f"layer{k + 1}", nn.GRU(channels if k == 0 else width, width, batch_first=True))
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) → (B, classes)."""
        *layers, _ = self.children()
        tokens = x.mT
        for layer in layers:
            tokens, _ = layer(tokens)
        return self.fc(tokens[:, -1])


class CausalBlock(nn.Module):
    """relu(x' + bn(conv(relu(bn(conv(x)))))), dilated convolutions of 3 times that see no later ones."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.padding = 2 * dilation
        self.conv1 = nn.Conv1d(inputs, outputs, 3, dilation=dilation, bias=False)
        self.conv2 = nn.Conv1d(outputs, outputs, 3, dilation=dilation, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(outputs), nn.BatchNorm1d(outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C', T)."""
        out = F.relu(self.bn1(self.conv1(F.pad(x, (self.padding, 0)))))
        return F.relu(self.bn2(self.conv2(F.pad(out, (self.padding, 0)))) + self.skip(x))


class TCN(ZooNetwork):
    """A temporal convolutional network: D causal residual blocks, layer1 …, W wide, dilated by 1, 2, 4 ….

    A linear layer maps the last time's features to the outputs; it sees 4·(2ᴰ − 1) times before.
    Shapes: (B, channels, T), any T → (B, classes).
    Paper: Bai, Kolter, Koltun. 2018. arXiv:1803.01271, with batch norm in place of weight norm, and no dropout.
    Raises: ConfigError if the depth isn't from 1 to 12, or the width isn't above 0.
    """

    pattern = r"tcn_(?P<depth>\d+)_(?P<width>\d+)"
    name_form = "tcn-D-W"
    examples = ("tcn-3-8", "tcn-4-16", "tcn-4-64")
    dimensions = 1

    def __init__(self, classes: int, channels: int = 1, depth: int = 4, width: int = 16) -> None:
        super().__init__()
        refuse_sizes(f"tcn-{depth}-{width}", depth, width)
        for k in range(depth):
            self.add_module(f"layer{k + 1}", CausalBlock(channels if k == 0 else width, width, 2**k))
        self.fc = nn.Linear(width, classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) → (B, classes)."""
        *layers, _ = self.children()
        for layer in layers:
            x = layer(x)
        return self.fc(x[:, :, -1])


def refuse_sizes(name: str, depth: int, width: int) -> None:
    """Refuse a depth or a width out of range.

    Raises: ConfigError.
    """
    if not 1 <= depth <= DEEPEST or width < 1:
        raise ConfigError(f"{name}: expected a depth from 1 to {DEEPEST} and a width of 1 or more.")
