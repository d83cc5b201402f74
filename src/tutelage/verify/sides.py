"""Forms in which losses take a side of a vector."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Side = Callable[[list[Tensor]], list[Tensor]]


def nobody(tensors: list[Tensor]) -> list[Tensor]:
    """No teacher, though the vector has one."""
    return []


def constants(tensors: list[Tensor]) -> list[Tensor]:
    """A side without its graph."""
    return [x.detach() for x in tensors]


def only(tensors: list[Tensor]) -> Tensor:
    """The one tensor of a side."""
    return tensors[0]


def split(tensors: list[Tensor]) -> list[Tensor]:
    """One tensor of several answers, (M, B, C), as a list."""
    return list(tensors[0].unbind(0))


def part(number: int) -> Side:
    """One of several answers, (M, B, C)."""
    return lambda tensors: [tensors[0][number]]


def apart(part: Side) -> Side:
    """Such a part without its graph."""
    return lambda tensors: constants(part(tensors))
