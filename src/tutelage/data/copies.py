"""Samples with the same content: noted, and refused with another label or in another split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from tutelage.errors import DataError


def digest(content: Tensor) -> bytes:
    """Return the sha256 of a sample's values."""
    return hashlib.sha256(content.numpy().data).digest()


def find_copies(digests: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return the pairs of a sample and the first one with the same content."""
    first: dict[bytes, int] = {}
    return [(first[content], n) for n, content in enumerate(digests) if first.setdefault(content, n) != n]


def check_copies(
    data: str,
    sample: str,
    content: str,
    names: Sequence[str],
    digests: Sequence[bytes],
    targets: Tensor,
    splits: Mapping[str, Tensor],
    fault: Callable[[int, str], DataError],
    mend: str = "",
) -> list[str]:
    """Return a note on samples with the same content.

    Args:
        data, sample, content: the data's name, and what its samples and their contents are in words.
        names, digests, targets: of each sample.
        splits: the numbers of each split's samples.
        fault: makes the error for a sample.
        mend: what to do, if not to keep one of the copies.

    Raises: DataError if copies have other targets, or are in other splits.
    """
    split_of = {row: split for split, numbers in splits.items() for row in numbers.tolist()}
    copies = [(first, row) for first, row in find_copies(digests) if {first, row} <= split_of.keys()]
    for first, row in copies:
        other = f"has the {content} of {names[first]}"
        if not torch.equal(targets[first], targets[row]):
            raise fault(row, f"{other}, and another label: {mend or 'keep the right one'}.")
        if split_of[first] != split_of[row]:
            raise fault(row, f"{other}, which is in {split_of[first]}: {mend or f'keep each {sample} in one split'}.")
    return [f"{data}: {len(copies)} {sample}(s) have the {content} of another one: keep one of each."] if copies else []
