"""The base class of the built-in networks, their initialisation and shared layers."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, shown

LARGEST = 2_000
"""The largest number in a name: a depth or a width."""
PARAMETERS = 300_000_000
"""The most parameters of a network created by name."""
USUAL = 10_000
"""Depth times width squared below which no network comes near PARAMETERS, so that they needn't be counted."""


class ZooNetwork(nn.Module):
    """A network that can be created by name; its constructor is `Net(classes, channels=3, …)`.

    pattern: the regular expression of its names, whose named groups are constructor arguments. name_form: the pattern
    in readable form. examples: names used in the literature. namesakes: names better known for a larger network. task:
    the task of its output; classification by default. dimensions: those of its inputs: 0 for rows (B, C), 1 for series
    (B, C, T), 2 for images, 3 for clips and voxels. takes_size: whether the constructor needs the data's size, as of a
    network that makes images.
    """

    pattern: ClassVar[str]
    name_form: ClassVar[str]
    examples: ClassVar[tuple[str, ...]]
    namesakes: ClassVar[tuple[str, ...]] = ()
    task: ClassVar[str] = "classification"
    dimensions: ClassVar[int] = 2
    takes_size: ClassVar[bool] = False

    @classmethod
    def from_name(cls, name: str, classes: int, channels: int = 3, size: tuple[int, ...] | None = None) -> Self | None:
        """Create the network of that name; None if the name isn't one of this family. `-` may replace `_`.

        Raises: ConfigError if the network would be too large.
        """
        match = re.fullmatch(cls.pattern, name.replace("-", "_"))
        if match is None:
            return None
        args = cls.parse(match.groupdict()) | ({"size": size} if cls.takes_size and size else {})
        widths = args.get("widths", (args.get("width", 1),))
        depth, width = args.get("depth", len(widths)), max(widths)
        if max(depth, width) > LARGEST or (depth * width**2 > USUAL and cls._is_huge(classes, channels, **args)):
            raise ConfigError(
                f"{shown(name)}: the network is too large; expected numbers up to {LARGEST:,} and at most "
                f"{PARAMETERS:,} parameters, such as {', '.join(cls.examples[:3])}."
            )
        return cls(classes, channels, **args)

    @classmethod
    def parse(cls, groups: dict[str, str | None]) -> dict[str, Any]:
        """Return the constructor's arguments in the named groups of a name."""
        return {key: parse_number(text) for key, text in groups.items() if text is not None}

    @classmethod
    def _is_huge(cls, classes: int, channels: int, **args: Any) -> bool:
        """Return True if it has more than PARAMETERS parameters, counted without allocating them."""
        with torch.device("meta"):
            return sum(p.numel() for p in cls(classes, channels, **args).parameters()) > PARAMETERS


def parse_number(text: str) -> int | float:
    """Parse a name's number: `2`, `0.5` or `half`."""
    if text == "half":
        return 0.5
    return float(text) if "." in text else int(text)


def init_kaiming(model: nn.Module) -> None:
    """Initialise the convolutions by He's normal distribution, by fan-out; their biases become 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def init_small(head: nn.Linear) -> nn.Linear:
    """Initialise a classifier with weights of standard deviation 0.01 and zero bias, and return it."""
    nn.init.normal_(head.weight, 0.0, 0.01)
    nn.init.zeros_(head.bias)
    return head


def average_pool(x: Tensor) -> Tensor:
    """Average over positions: (B, C, H, W) → (B, C), for any H and W."""
    return x.mean((2, 3))


def shuffle_channels(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of the groups: channel j of group i moves to position j·groups + i."""
    B, C, H, W = x.shape
    return x.reshape(B, groups, C // groups, H, W).transpose(1, 2).reshape(B, C, H, W)


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution that keeps the size (apart from its stride), and its batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]
