"""Conversions of a vector's side to the form that a loss takes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Side = Callable[[list[Tensor]], list[Tensor]]


def no_teacher(tensors: list[Tensor]) -> list[Tensor]:
    """Return an empty side, for a loss without a teacher on a vector that has one."""
    return []


def detach(tensors: list[Tensor]) -> list[Tensor]:
    """Detach a side's tensors."""
    return [x.detach() for x in tensors]


def take_single(tensors: list[Tensor]) -> Tensor:
    """Return the only tensor of a side."""
    return tensors[0]


def unstack(tensors: list[Tensor]) -> list[Tensor]:
    """Unbind stacked logits (M, B, C) to a list of M."""
    return list(tensors[0].unbind(0))


def select_member(index: int) -> Side:
    """Return a conversion that selects one of stacked logits (M, B, C)."""
    return lambda tensors: [tensors[0][index]]


def select_detached_member(index: int) -> Side:
    """Return a conversion that selects and detaches one of stacked logits (M, B, C)."""
    return lambda tensors: detach(select_member(index)(tensors))
