"""The samples of a map-style Dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.data.augment import seeded_generators
from tutelage.data.field_items import FieldReader
from tutelage.data.items import UNLABELLED, ItemReader
from tutelage.data.loaders import LoaderSettings
from tutelage.data.own_classes import target_labels
from tutelage.data.splits import IGNORE, LazySplit, Sample, ViewSeed
from tutelage.errors import DataError

PROBED = 64
"""Number of evenly spaced samples that are read and checked before training."""


@contextmanager
def naming_sample(split: str, row: int) -> Iterator[None]:
    """Begin the message of a DataError with the split and the number of the sample."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{split}: sample {row} {error}") from error


class MapStyleSplit(LazySplit):
    """The samples of a map-style Dataset.

    rows: the Dataset's numbers of the samples (None: all that its loader selects). like: an image whose channels and
    dtype kind all images must have.
    """

    is_random = True

    def __init__(
        self, source: LoaderSettings, items: ItemReader | FieldReader, split: str, rows: Tensor | None = None
    ) -> None:
        self.source, self.items, self.split = source, items, split
        selected = torch.arange(len(source.dataset)) if source.rows is None else source.rows
        self.rows = selected if rows is None else rows
        self.labels: Tensor | None = None
        self.all_values: Tensor | None = None
        self.like: Any = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def weights(self) -> Tensor | None:
        """Each sample's sampling weight, if a sampler provides weights."""
        return None if self.source.weights is None else self.source.weights[self.rows]

    @property
    def values(self) -> Tensor | None:
        """The values of a regression."""
        return self.all_values

    def take(self, rows: Tensor) -> Self:
        """Select rows of the same Dataset."""
        selected = type(self)(self.source, self.items, self.split, self.rows[rows])
        selected.labels, selected.like = None if self.labels is None else self.labels[rows], self.like
        selected.all_values = None if self.all_values is None else self.all_values[rows]
        selected.content = self.content
        return selected

    def item(self, number: int, augmentation: ViewSeed) -> Sample:
        """Return the Dataset's item as checked tensors."""
        raw, row = self.raw_item(number, augmentation), int(self.rows[number])
        with naming_sample(self.split, row):
            x, y = self.items.sample(raw)
            if fault := self.items.difference(x, self.like):
                raise DataError(fault)
            if self.labels is not None and isinstance(y, Tensor) and y != self.labels[number]:
                raise DataError(
                    f"is of class {int(y)}, but of class {int(self.labels[number])} in the Dataset's targets: correct "
                    "them, or remove `targets`."
                )
        return x, y

    def raw_item(self, number: int, augmentation: ViewSeed) -> Any:
        """Return the Dataset's item unchanged."""
        row = int(self.rows[number])
        with seeded_generators(augmentation.seed, number, augmentation.view):
            try:
                return self.source.dataset[row]
            except Exception as error:  # the user's code may raise anything
                raise DataError(
                    f"{self.split}: sample {row} can't be read ({type(error).__name__}: {error})."
                ) from error

    def probe(self) -> None:
        """Read some samples to find faults before training; set `labels` if the Dataset's `targets` agree with them.

        Those of a regression are all read, since the values' mean and deviation scale them.
        """
        task = self.items.targets.task
        probed, masks = self._evenly_spaced(), task == "segmentation"
        if task == "regression":
            batches = torch.arange(len(self)).split(PROBED)
            targets = [y for _, y in self.read(batches, ViewSeed(), self.source.workers) if y is not None]
            self.all_values = torch.cat(targets)
            return
        if task in (UNLABELLED, "multi_label", "detection"):
            for number in probed:
                self.item(number, ViewSeed())
            return
        with seeded_generators(0, 0, 0):  # a target_transform may draw
            candidates = [] if masks else target_labels(self.source.dataset, self.items.targets.classes)
        certain = not candidates and self.items.is_certain
        samples = [self.item(n, ViewSeed()) for n in (probed[:1] if certain else probed)]
        targets = [y for _, y in samples if y is not None]
        if masks and torch.cat([y.unique() for y in targets]).unique().tolist() == [0, IGNORE]:
            raise DataError(
                f"{self.split}: the masks of {len(targets)} samples have only the values 0 and {IGNORE}, and {IGNORE} "
                "marks unlabelled pixels: if it is a class, replace it by the class's number in the Dataset."
            )
        for candidate in candidates:
            labels = candidate[self.rows]
            if labels[probed].equal(torch.stack(targets)):
                self._refuse_out_of_range(labels)
                self.labels = labels
                return

    def fingerprint(self) -> str:
        """Hash the rows, 64 evenly spaced samples (all, if `content`), and the sampling weights."""
        digest = hashlib.sha256(str(self.rows.tolist()).encode())
        for number in range(len(self)) if self.content else self._evenly_spaced():
            x, y = self.item(number, ViewSeed())
            for value in (*([x] if isinstance(x, Tensor) else x.values()), y):
                for tensor in value.values() if isinstance(value, dict) else () if value is None else (value,):
                    digest.update(tensor.contiguous().numpy().data)
        if self.weights is not None:
            digest.update(self.weights.numpy().data)
        return digest.hexdigest()

    def largest(self) -> dict[str, float]:
        """Return the largest absolute value of each input by name, among evenly spaced samples."""
        items = [self.item(number, ViewSeed())[0] for number in self._evenly_spaced()]
        return {name: max(float(x[name].abs().max()) for x in items) for name in items[0]}

    def _evenly_spaced(self) -> list[int]:
        return torch.linspace(0, len(self) - 1, min(PROBED, len(self)), dtype=torch.float64).long().tolist()

    def _refuse_out_of_range(self, labels: Tensor) -> None:
        classes = len(self.items.targets.classes)
        if labels.min() < 0 or labels.max() >= classes:
            raise DataError(
                f"{self.split}: the Dataset's targets range from {int(labels.min())} to {int(labels.max())}: expected "
                f"{classes} classes (0 to {classes - 1})."
            )
