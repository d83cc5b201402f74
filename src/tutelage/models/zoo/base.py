"""What the literature's networks share: a name, and how they begin."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, shown

LARGEST = 2_000
"""Of the numbers in a name, depths and widths."""
PARAMETERS = 300_000_000
"""More a network that goes by a name hasn't."""
USUAL = 10_000
"""Depth times width squared, up to which no network of a name comes near that many."""


class ZooNetwork(nn.Module):
    """A network that goes by a name; `Net(classes, channels=3, …)` makes it.

    pattern: the regular expression of its names, whose named groups are constructor arguments. form: the same for
    people. examples: names that the literature uses. namesakes: those by which most know a larger network. task: what
    its output is for; a class vector unless said.
    """

    pattern: ClassVar[str]
    form: ClassVar[str]
    examples: ClassVar[tuple[str, ...]]
    namesakes: ClassVar[tuple[str, ...]] = ()
    task: ClassVar[str] = "classification"

    @classmethod
    def named(cls, name: str, classes: int, channels: int = 3) -> Self | None:
        """The network of that name, None if the name isn't one of this family; `-` may stand for `_`."""
        match = re.fullmatch(cls.pattern, name.replace("-", "_"))
        if match is None:
            return None
        given: dict[str, Any] = {key: number(text) for key, text in match.groupdict().items() if text is not None}
        depth, width = given.get("depth", 1), given.get("width", 1)
        if max(depth, width) > LARGEST or (depth * width**2 > USUAL and cls._is_huge(classes, channels, **given)):
            raise ConfigError(
                f"{shown(name)}: so large a network has no use; expected numbers up to {LARGEST:,}, and a network of "
                f"{PARAMETERS:,} parameters at most, such as {', '.join(cls.examples[:3])}."
            )
        return cls(classes, channels, **given)

    @classmethod
    def _is_huge(cls, classes: int, channels: int, **given: Any) -> bool:
        """Whether it has more parameters than anybody wants, counted without making them."""
        with torch.device("meta"):
            return sum(p.numel() for p in cls(classes, channels, **given).parameters()) > PARAMETERS


def number(text: str) -> int | float:
    """A name's number: `2`, `0.5` or `half`."""
    if text == "half":
        return 0.5
    return float(text) if "." in text else int(text)


def kaiming(model: nn.Module) -> None:
    """He's normal initialisation of the convolutions, counted over their outputs; their biases become 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def small(head: nn.Linear) -> nn.Linear:
    """A classifier that begins with weights of deviation 0.01 and no bias."""
    nn.init.normal_(head.weight, 0.0, 0.01)
    nn.init.zeros_(head.bias)
    return head


def pooled(x: Tensor) -> Tensor:
    """Average over positions: (B, C, H, W) → (B, C), for any H and W."""
    return x.mean((2, 3))


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of the groups: channel j of group i goes to place j·groups + i."""
    B, C, H, W = x.shape
    return x.reshape(B, groups, C // groups, H, W).transpose(1, 2).reshape(B, C, H, W)


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size (but for its stride), and its batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]
