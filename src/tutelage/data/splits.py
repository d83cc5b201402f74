"""The samples of one split: in memory, in image files or in the user's own Dataset."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tutelage.data.alter import apply_policies
from tutelage.errors import DataError
from tutelage.structures import Inputs

IGNORE = 255
"""The target of unlabelled pixels."""


@dataclass(frozen=True)
class ViewSeed:
    """One view of the samples: the address of its random numbers, whether photos are cropped, and further policies.

    time_crop: whether recordings and clips are cropped in time.
    """

    seed: int = 0
    view: int = 0
    crop: bool = False
    policies: tuple[str, ...] = ()
    time_crop: bool = False

    def augment(self, x: Tensor, number: int) -> Tensor:
        """Apply the policies to a sample's image (C, H, W)."""
        return apply_policies(x, self.policies, (self.seed, number, self.view)) if self.policies else x


Sample = tuple[Any, Any]
"""Inputs and targets, of one sample or of a batch; None: without labels; a mapping (of a batch, a list): objects."""


class Split(ABC):
    """Abstract: inputs (C, …), uint8 or float32, with targets if there are any, numbered from 0.

    labels: (N,) int64, each sample's class, if it is known without reading the samples; else None. groups: (N,) int64,
    each sample's group (its query, its speaker …), if there are groups. whole_groups: whether a batch has whole groups,
    as rankings require. is_random: whether reading a sample involves randomness in addition to the data's augmentation.
    can_crop: whether reading can crop a sample at random. content: whether the fingerprint covers the contents of
    files, or only their names and sizes. rate: recordings' samples a second, if they are known. in_order: whether
    training takes the samples in their order, as of a stream. is_sealed: whether nothing may read it (`data.sealed`).
    """

    labels: Tensor | None = None
    groups: Tensor | None = None
    whole_groups: bool = False
    is_random: bool = False
    can_crop: bool = False
    content: bool = False
    rate: int | None = None
    in_order: bool = False
    is_sealed: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, rows: Tensor) -> Self:
        """Select samples by number; the result is numbered from 0."""

    @property
    def weights(self) -> Tensor | None:
        """Sampling weights (N,) for training, with replacement; None: each sample once."""
        return None

    @property
    def image_size(self) -> tuple[int, int] | None:
        """The height and width to which images are brought before normalisation; None: they keep their size."""
        return None

    @property
    def strata(self) -> Tensor | None:
        """Stratum numbers (N,) int64 for stratified subsets; None if they aren't known."""
        return self.labels

    @property
    def values(self) -> Tensor | None:
        """The values (N, T) to estimate, if they are known without reading the samples."""
        return None

    def fingerprinted_by(self, content: bool) -> Self:
        """Return the same samples, whose fingerprint covers the contents of files or only their names and sizes."""
        samples = copy.copy(self)
        samples.content = content
        return samples

    def for_evaluation(self) -> Self:
        """Return the same samples without what is only for training."""
        return self

    def column(self, number: int) -> Split:
        """Select the samples that have a label in this column, with this label only."""
        raise DataError(f"{type(self).__name__}: its samples have no label columns; remove the column.")

    @abstractmethod
    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Iterate over batches of sample numbers, yielding inputs (B, C, …), by name if several, and targets (B, …)."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the sha256 of the samples' identity."""


class InMemorySplit(Split):
    """Inputs (N, C, …), or several such by field, and targets in memory.

    targets: classes (N,), label columns (N, K) or masks (N, H, W), of integers; values (N, T), of floats; or None.
    rows: the rows in use (None: all). groups: (N,) the group of each row.
    """

    def __init__(
        self, inputs: Inputs, targets: Tensor | None, rows: Tensor | None = None, groups: Tensor | None = None
    ) -> None:
        self.inputs, self.targets, self.all_groups = inputs, targets, groups
        first = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
        self.rows = torch.arange(len(first)) if rows is None else rows
        self.labels = targets[self.rows].long() if targets is not None and targets.dim() == 1 else None
        self.groups = None if groups is None else groups[self.rows]

    @property
    def image_size(self) -> tuple[int, int] | None:
        """The height and width of the stored images; None for other inputs."""
        x = self.inputs
        return (x.shape[2], x.shape[3]) if isinstance(x, Tensor) and x.dim() == 4 else None

    @property
    def strata(self) -> Tensor | None:
        """The classes; for label columns, the number of each sample's combination of labels."""
        if self.targets is None or self.targets.dim() != 2 or self.targets.is_floating_point():
            return self.labels
        return self.targets[self.rows].unique(dim=0, return_inverse=True)[1]

    @property
    def values(self) -> Tensor | None:
        """The rows' targets, if they are values."""
        return self.targets[self.rows] if self.targets is not None and self.targets.is_floating_point() else None

    def column(self, number: int) -> InMemorySplit:
        """Select a column's labels; the inputs are shared."""
        assert self.targets is not None
        targets = self.targets[:, number]
        return InMemorySplit(self.inputs, targets, self.rows[targets[self.rows] >= 0], self.all_groups)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor) -> Self:
        """Select rows; the memory is shared."""
        return type(self)(self.inputs, self.targets, self.rows[rows], self.all_groups)

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Yield copies of the rows with the view's policies applied; `workers` has no effect."""
        for batch in batches:
            rows = self.rows[batch]
            targets = None if self.targets is None else self.targets[rows]
            inputs = _map_inputs(self.inputs, partial(torch.index_select, dim=0, index=rows))
            if augmentation.policies and isinstance(inputs, Tensor):
                inputs = torch.stack([augmentation.augment(x, int(n)) for x, n in zip(inputs, batch, strict=True)])
            yield inputs, targets if targets is None or targets.is_floating_point() else targets.long()

    def fingerprint(self) -> str:
        """Hash every input value, target and group; once, since nothing changes them."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        shapes: Any = _map_inputs(self.inputs, lambda x: tuple(x.shape[1:]))
        digest = hashlib.sha256(str(shapes).encode())
        for inputs, targets in self.read(list(torch.arange(len(self)).split(256)), ViewSeed()):
            fields = [inputs] if isinstance(inputs, Tensor) else [*inputs.values()]
            arrays = [x.numpy() for x in [*fields, *([] if targets is None else [targets])]]
            for sample in zip(*arrays, strict=True):
                for array in sample:
                    digest.update(np.ascontiguousarray(array).data)
        if self.groups is not None:
            digest.update(self.groups.numpy().data)
        return digest.hexdigest()


def _map_inputs(inputs: Inputs, change: Callable[[Tensor], Any]) -> Any:
    """Return the change of the inputs, field by field if there are several."""
    return change(inputs) if isinstance(inputs, Tensor) else {name: change(x) for name, x in inputs.items()}


class ClassSubset(Split):
    """The samples of some classes, renumbered; numbers: (C,) each class's new number, -1 for excluded classes."""

    def __init__(self, samples: Split, numbers: Tensor) -> None:
        assert samples.labels is not None
        self.samples = samples.take((numbers[samples.labels] >= 0).nonzero()[:, 0])
        self.numbers, self.is_random, self.can_crop = numbers, samples.is_random, samples.can_crop
        self.labels = numbers[samples.labels][numbers[samples.labels] >= 0]
        self.groups, self.rate, self.in_order = self.samples.groups, samples.rate, samples.in_order

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def weights(self) -> Tensor | None:
        """The samples' weights."""
        return self.samples.weights

    @property
    def image_size(self) -> tuple[int, int] | None:
        """The samples' height and width."""
        return self.samples.image_size

    def take(self, rows: Tensor) -> Self:
        """Select some of the samples."""
        return type(self)(self.samples.take(rows), self.numbers)

    def fingerprinted_by(self, content: bool) -> Self:
        """Return the same samples, fingerprinted so."""
        return type(self)(self.samples.fingerprinted_by(content), self.numbers)

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Yield images unchanged and targets with the new class numbers."""
        for images, targets in self.samples.read(batches, augmentation, workers):
            assert targets is not None
            yield images, self.numbers[targets]

    def fingerprint(self) -> str:
        """Hash the samples' fingerprint and the class numbers."""
        return hashlib.sha256(f"{self.samples.fingerprint()} {self.numbers.tolist()}".encode()).hexdigest()


class LazySplit(Split):
    """Abstract: samples that are read one by one, optionally in worker processes."""

    @abstractmethod
    def item(self, number: int, augmentation: ViewSeed) -> Sample:
        """Return one image (C, H, W), or several inputs by name, with its target.

        Raises: DataError if it can't be read.
        """

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Read item by item and stack; an item's DataError is raised here, also from a worker."""
        loader: Any = DataLoader(
            _Reader(self, augmentation),
            batch_sampler=[batch.tolist() for batch in batches],
            num_workers=workers,
            collate_fn=_stack,
            generator=torch.Generator(),
        )
        for item in loader:
            if isinstance(item, DataError):
                raise item
            yield item


class _Reader(Dataset[Any]):
    """A Dataset that returns an error as an item: raised in a worker it would arrive wrapped in a traceback."""

    def __init__(self, samples: LazySplit, augmentation: ViewSeed) -> None:
        self.samples, self.augmentation = samples, augmentation

    def __getitem__(self, number: int) -> Sample | DataError:
        try:
            x, y = self.samples.item(number, self.augmentation)
            return self.augmentation.augment(x, number) if isinstance(x, Tensor) else x, y
        except DataError as error:
            return error


def _stack(items: list[Any]) -> Sample | DataError:
    for item in items:
        if isinstance(item, DataError):
            return item
    targets, inputs = [y for _, y in items if y is not None], [x for x, _ in items]
    try:
        x = (
            _stacked(inputs)
            if isinstance(inputs[0], Tensor)
            else {name: _stacked([x[name] for x in inputs]) for name in inputs[0]}
        )
        if targets and isinstance(targets[0], dict):  # of objects, as many as each sample has
            return x, targets
        return x, _stacked(targets) if targets else None
    except DataError as error:
        return error


def _stacked(tensors: list[Tensor]) -> Tensor:
    if len(shapes := {tuple(x.shape) for x in tensors}) > 1:
        raise DataError(f"samples of different shapes {sorted(shapes)} in one batch: resize them to one size.")
    return torch.stack(tensors)
