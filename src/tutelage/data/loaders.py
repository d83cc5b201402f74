"""A DataLoader's settings in addition to its Dataset: each is honoured, or rejected by name."""

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
    """A Dataset and its loader's settings.

    rows: the numbers of the samples in use (None: all). weights: sampling weights (None: each sample once). batch_size,
    workers: the loader's (None, 0: not set).
    """

    dataset: Any
    rows: Tensor | None = None
    weights: Tensor | None = None
    batch_size: int | None = None
    workers: int = 0


def loader_settings(split: str, source: Any) -> LoaderSettings:
    """Read the settings of a map-style Dataset, or of a DataLoader of one.

    Raises: DataError for iterable Datasets, for other objects, and for loader settings that can't be honoured.
    """
    dataset = source.dataset if isinstance(source, DataLoader) else source
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            f"{split}: {type(dataset).__name__} has no __len__ and __getitem__: expected a map-style Dataset."
        )
    try:
        count = len(dataset)
    except Exception as error:  # the user's code may raise anything
        raise DataError(f"{split}: the Dataset's length can't be read ({type(error).__name__}: {error}).") from error
    if not count:
        raise DataError(f"{split}: the Dataset is empty: expected one sample or more.")
    return _from_loader(split, source) if isinstance(source, DataLoader) else LoaderSettings(source)


REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "its own batch_sampler, or none": (
        lambda loader: loader.batch_size is None,
        "use batch_size= and a sampler, or pass its Dataset, yielding one sample per item",
    ),
    "its own collate_fn": (
        lambda loader: loader.collate_fn is not default_collate,
        "pass its Dataset, yielding (x, y), or move the collate_fn's work into the Dataset",
    ),
    "its own __iter__": (
        lambda loader: type(loader).__iter__ is not DataLoader.__iter__,
        "pass its Dataset, or move that work into the Dataset",
    ),
    "a worker_init_fn": (
        lambda loader: loader.worker_init_fn is not None,
        "randomness is a function of (seed, sample, epoch) here; remove it, or pass its Dataset",
    ),
    "drop_last=True": (
        lambda loader: loader.drop_last,
        "the last, smaller batch is used here; remove it, or pass its Dataset",
    ),
    "a generator": (
        lambda loader: loader.generator is not None or getattr(loader.sampler, "generator", None) is not None,
        "the order is a function of seed= and the epoch here; remove it, or pass its Dataset",
    ),
}
"""Settings that are rejected: their description, a test for them, and the mend."""


def _from_loader(split: str, loader: Any) -> LoaderSettings:
    for setting, (is_set, mend) in REFUSED.items():
        if is_set(loader):
            raise DataError(f"{split}: a DataLoader with {setting}: {mend}.")
    rows, weights = _rows_and_weights(split, loader.sampler, len(loader.dataset))
    return LoaderSettings(
        loader.dataset, rows, weights, loader.batch_size if split == "train" else None, loader.num_workers
    )


def _rows_and_weights(split: str, sampler: Any, count: int) -> tuple[Tensor | None, Tensor | None]:
    """Return the rows and sampling weights that a sampler stands for."""
    kind, train = type(sampler), split == "train"
    replacement = bool(getattr(sampler, "replacement", False))
    all_samples = getattr(sampler, "num_samples", count) == count
    if kind is SubsetRandomSampler:
        return torch.as_tensor(sampler.indices).long().sort().values, None
    if kind is RandomSampler and all_samples and not replacement:
        return None, None
    if kind is SequentialSampler and not train:
        return None, None
    by_kind = {WeightedRandomSampler: getattr(sampler, "weights", None), RandomSampler: torch.ones(count)}.get(kind)
    if train and all_samples and replacement and by_kind is not None and len(by_kind) == count and by_kind.sum() > 0:
        return None, by_kind.double()
    raise DataError(f"{split}: a DataLoader with {_describe_refusal(sampler, count)}.")


def _describe_refusal(sampler: Any, count: int) -> str:
    """Describe a sampler that can't be honoured, and the accepted ones."""
    if type(sampler) is SequentialSampler:
        return "shuffle=False, but training takes the samples in random order: set shuffle=True, or pass its Dataset"
    options = [
        f"{option}={getattr(sampler, option)}" for option in ("replacement", "num_samples") if hasattr(sampler, option)
    ]
    return (
        f"the sampler {type(sampler).__name__}({', '.join(options)}): for training expected shuffle=True, a "
        f"SubsetRandomSampler, or a WeightedRandomSampler of num_samples={count} with replacement; for other splits "
        "shuffle=False or a SubsetRandomSampler; or pass its Dataset"
    )
