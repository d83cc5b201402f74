"""Losses of responses at some positions alone, such as the labelled pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import LossValues

Compare = Callable[[Any, Any, dict[str, Any]], LossValues]
"""A comparison of the student's side, the teacher's side and further inputs."""


def compare_at(mask: Tensor, compare: Compare, student: Any, teacher: Any, loss_kwargs: dict[str, Any]) -> LossValues:
    """Return the values of the positions in the mask, which the comparison gets as samples."""
    return compare(*(select_positions(side, mask) for side in (student, teacher, loss_kwargs)))


def values_at(mask: Tensor, compare: Compare, student: Any, teacher: Any, loss_kwargs: dict[str, Any]) -> Tensor:
    """Return the same of a comparison of each position by itself: its values of all positions, and of these some.

    It is several times faster, since the values are fewer than the responses. The teacher counts as 0 elsewhere, since
    one that is NaN there would reach the gradient.
    """
    teacher = None if teacher is None else teacher.masked_fill(~mask[:, None], 0)
    known = {k: torch.where(mask, v, 0) if _is_of_positions(v, mask) else v for k, v in loss_kwargs.items()}
    values = compare(student, teacher, known)
    assert isinstance(values, Tensor)
    return values[mask]


def select_positions(value: Any, mask: Tensor) -> Any:
    """Return the positions in the mask: rows (N, C) of logits (B, C, …), and (N,) of values by position.

    Of a mask of single outputs, (B, C, …), the outputs (N,) in it.
    """
    if isinstance(value, list):
        return [select_positions(x, mask) for x in value]
    if isinstance(value, Mapping):
        return {k: v[mask] if _is_of_positions(v, mask) else v for k, v in value.items()}
    return None if value is None else (value if value.shape == mask.shape else value.movedim(1, -1))[mask]


def _is_of_positions(value: Any, mask: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == mask.shape
