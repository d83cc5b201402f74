"""Splits without a class in common: test with classes that training hasn't seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tutelage.data.data_module import SPLITS, DataModule
from tutelage.data.joined_split import JoinedSplit
from tutelage.data.splits import ClassSubset
from tutelage.errors import ConfigError, DataError, unknown

FEWEST = 2
"""The number of classes that each split requires."""


def split_by_class(data: DataModule, test: Sequence[str] | None, val: float, seed: int) -> DataModule:
    """Return the data with all samples of a class in one split, and the classes numbered split by split.

    Splits that share no class stay as they are. Otherwise the samples of all splits are divided by the classes of the
    test split, which are a half, drawn at random but the same for any seed, unless they are named; then by a fraction
    of the other classes for validation, which depends on the seed.

    Args:
        data: the data.
        test: the names of the test split's classes; None: they are drawn.
        val: the fraction of the other classes that are for validation.
        seed: chooses the validation classes.

    Raises: ConfigError if a name isn't a class; DataError if there are too few classes, no known labels, or groups.
    """
    if any(getattr(data, split).labels is None for split in SPLITS):
        raise DataError(
            f"data {data.name!r}: a split by class requires a single class per sample that is known without reading "
            "the sample; give a Dataset the attribute `targets`."
        )
    if any(getattr(data, split).groups is not None for split in SPLITS):
        raise DataError(
            f"data {data.name!r}: its samples are in groups that no two splits share, so they can't be split by class: "
            "leave group out, or set split=samples."
        )
    if test is None and not shared_classes(data):
        return data
    names = dict(zip(SPLITS, choose_classes(data, test, val, seed), strict=True))
    order = tuple(name for split in SPLITS for name in names[split])
    samples = JoinedSplit([getattr(data, split) for split in SPLITS])
    numbers = [class_numbers(data.classes, order, names[split]) for split in SPLITS]
    train, validation, test_samples = (ClassSubset(samples, number) for number in numbers)
    return replace(data, classes=order, train=train, val=validation, test=test_samples)


def shared_classes(data: DataModule) -> tuple[str, ...]:
    """Return the names of the classes that have samples in several splits."""
    counts = [torch.bincount(getattr(data, split).labels, minlength=len(data.classes)) for split in data.splits]
    shared = (torch.stack(counts) > 0).sum(0) > 1
    return tuple(name for name, is_shared in zip(data.classes, shared.tolist(), strict=True) if is_shared)


def choose_classes(
    data: DataModule, test: Sequence[str] | None, val: float, seed: int
) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the classes for train, val and test; arguments and errors as in `split_by_class`."""
    classes = list(data.classes)
    if faults := [unknown(f"class of {data.name}", name, classes) for name in test or () if name not in classes]:
        raise ConfigError("\n".join(faults))
    if test is None:
        test = drawn(classes, len(classes) // 2, 0)
    rest = [name for name in classes if name not in test]
    validation = drawn(rest, max(FEWEST, round(val * len(rest))), seed)
    train = [name for name in rest if name not in validation]
    if min(len(set(test)), len(train)) < FEWEST:
        raise DataError(
            f"data {data.name!r}: its {len(classes)} classes leave {len(train)} for train, {len(validation)} for val "
            f"and {len(set(test))} for test, expected {FEWEST} or more in each: provide more classes, or name others "
            "for test."
        )
    return train, validation, [name for name in classes if name in test]


def drawn(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Return a random choice of names, in their order."""
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed % 2**63))
    return [names[number] for number in order[:count].sort().values.tolist()]


def class_numbers(classes: Sequence[str], order: Sequence[str], kept: Sequence[str]) -> Tensor:
    """Return the new number of each class, by its place in the order; −1 for those that aren't kept."""
    return torch.tensor([order.index(name) if name in kept else -1 for name in classes])
