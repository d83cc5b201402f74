"""Training samples drawn so that each class comes equally often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.splits import Sample, Split, ViewSeed
from tutelage.errors import ConfigError


class BalancedSplit(Split):
    """Samples that are drawn with replacement: each class equally often, and a class's samples equally often.

    samples: with labels.
    """

    def __init__(self, samples: Split) -> None:
        assert samples.labels is not None
        self.samples, self.labels, self.groups = samples, samples.labels, samples.groups
        self.is_random, self.can_crop, self.content = samples.is_random, samples.can_crop, samples.content

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def weights(self) -> Tensor | None:
        """One divided by the number of samples of each one's class."""
        assert self.labels is not None
        return 1 / torch.bincount(self.labels)[self.labels].double()

    @property
    def image_size(self) -> tuple[int, int] | None:
        """The samples' height and width."""
        return self.samples.image_size

    def fingerprinted_by(self, content: bool) -> Self:
        """Return the same samples, fingerprinted so."""
        return type(self)(self.samples.fingerprinted_by(content))

    def take(self, rows: Tensor) -> Self:
        """Select some of the samples; the weights are those of their own classes."""
        return type(self)(self.samples.take(rows))

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Yield the samples."""
        return self.samples.read(batches, augmentation, workers)

    def fingerprint(self) -> str:
        """Return the samples' fingerprint: they are the same."""
        return self.samples.fingerprint()


def balance(data: DataModule) -> DataModule:
    """Return the data with balanced training samples.

    Raises: ConfigError if they have no single class, are drawn by weights already, or read in order.
    """
    if data.train.labels is None:
        raise ConfigError(
            f"balance=true: requires a single class per sample that is known without reading it, which {data.name!r} "
            "doesn't have; use class_weights=balanced, or give a Dataset the attribute `targets`."
        )
    if data.train.weights is not None:
        raise ConfigError(f"balance=true: {data.name!r} has a WeightedRandomSampler already: remove one of them.")
    if data.train.in_order:
        raise ConfigError(f"balance=true: {data.name!r} is read in the order of time: remove balance, or order.")
    return replace(data, train=BalancedSplit(data.train))
