"""What a DataLoader says beside its Dataset: each of its words is honoured, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)

from tutelage.errors import DataError


@dataclass(frozen=True)
class LoaderSettings:
    """A Dataset, which of its rows count (None: all), how they are drawn (None: each once), and a loader's words."""

    dataset: Any
    rows: Tensor | None = None
    weights: Tensor | None = None
    batch_size: int | None = None
    workers: int = 0


def asked_of(split: str, given: Any) -> LoaderSettings:
    """What a map-style Dataset, or a DataLoader of one, asks for.

    Raises: DataError for streams, for what is no Dataset, and for a loader's words that can't be honoured.
    """
    dataset = given.dataset if isinstance(given, DataLoader) else given
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(f"{split}: {type(dataset).__name__} has no length and items: expected a map-style Dataset.")
    try:
        count = len(dataset)
    except Exception as error:  # the user's code may raise anything
        raise DataError(f"{split}: the Dataset's length can't be had ({type(error).__name__}: {error}).") from error
    if not count:
        raise DataError(f"{split}: the Dataset is empty: expected one sample or more.")
    return _of_loader(split, given) if isinstance(given, DataLoader) else LoaderSettings(given)


REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "its own batch_sampler, or none": (
        lambda loader: loader.batch_size is None,
        "give batch_size= and a sampler, or its Dataset, yielding one sample an item",
    ),
    "its own collate_fn": (
        lambda loader: loader.collate_fn is not default_collate,
        "give its Dataset, yielding (x, y), or move what the collate_fn does into the Dataset",
    ),
    "its own __iter__": (
        lambda loader: type(loader).__iter__ is not DataLoader.__iter__,
        "give its Dataset, or move what it does into the Dataset",
    ),
    "a worker_init_fn": (
        lambda loader: loader.worker_init_fn is not None,
        "randomness is a function of (seed, sample, epoch) here; leave it out, or give its Dataset",
    ),
    "drop_last=True": (
        lambda loader: loader.drop_last,
        "the last, smaller batch counts here; leave it out, or give its Dataset",
    ),
    "a generator": (
        lambda loader: loader.generator is not None or getattr(loader.sampler, "generator", None) is not None,
        "the order is a function of seed= and the epoch here; leave it out, or give its Dataset",
    ),
}
"""What a loader may have, how that is seen, and the mend."""


def _of_loader(split: str, loader: Any) -> LoaderSettings:
    for what, (has, mend) in REFUSED.items():
        if has(loader):
            raise DataError(f"{split}: a DataLoader with {what}: {mend}.")
    rows, weights = _drawn(split, loader.sampler, len(loader.dataset))
    return LoaderSettings(
        loader.dataset, rows, weights, loader.batch_size if split == "train" else None, loader.num_workers
    )


def _drawn(split: str, sampler: Any, count: int) -> tuple[Tensor | None, Tensor | None]:
    """The rows and weights that a sampler means."""
    kind, train = type(sampler), split == "train"
    again = bool(getattr(sampler, "replacement", False))
    whole = getattr(sampler, "num_samples", count) == count
    if kind is SubsetRandomSampler:
        return torch.as_tensor(sampler.indices).long().sort().values, None
    if kind is RandomSampler and whole and not again:
        return None, None
    if kind is SequentialSampler and not train:
        return None, None
    drawn = {WeightedRandomSampler: getattr(sampler, "weights", None), RandomSampler: torch.ones(count)}.get(kind)
    if train and whole and again and drawn is not None and len(drawn) == count and drawn.sum() > 0:
        return None, drawn.double()
    raise DataError(f"{split}: a DataLoader with {_said(sampler, count)}.")


def _said(sampler: Any, count: int) -> str:
    """A sampler that isn't honoured, and what would be."""
    if type(sampler) is SequentialSampler:
        return "shuffle=False, but training takes the samples in random order: say shuffle=True, or give its Dataset"
    words = [f"{word}={getattr(sampler, word)}" for word in ("replacement", "num_samples") if hasattr(sampler, word)]
    return (
        f"the sampler {type(sampler).__name__}({', '.join(words)}): for training expected shuffle=True, a "
        f"SubsetRandomSampler, or a WeightedRandomSampler of num_samples={count} with replacement; for other splits "
        "shuffle=False or a SubsetRandomSampler; or give its Dataset"
    )
