"""Targets of several label columns: where each column's logits lie, and which samples have a label there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from torch import Tensor

MISSING = -1
"""The label of a sample that has none in a column; in targets any number below 0 says so."""


def spans(sizes: Sequence[int]) -> list[slice]:
    """Where each column's logits lie in a response, from how many classes the columns have."""
    return [slice(end - size, end) for end, size in zip(accumulate(sizes), sizes, strict=True)]


def by_label(response: Tensor, targets: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Each column's logits and targets, of the samples that have a label there; all as they are without columns."""
    if not sizes:
        return [(response, targets)]
    pairs = zip(spans(sizes), targets.unbind(1), strict=True)
    return [(response[truth >= 0, span], truth[truth >= 0]) for span, truth in pairs]
