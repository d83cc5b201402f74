"""The samples of one split, wherever they lie: in memory, in image files, or in somebody's own Dataset."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tutelage.data.alter import altered
from tutelage.errors import DataError

IGNORE = 255
"""The target of positions that don't count."""


@dataclass(frozen=True)
class ViewSeed:
    """How samples are looked at: the address of their randomness, whether photos are cropped by it, further words."""

    seed: int = 0
    view: int = 0
    crop: bool = False
    words: tuple[str, ...] = ()

    def altered(self, x: Tensor, number: int) -> Tensor:
        """A sample's image after the words."""
        return altered(x, self.words, (self.seed, number, self.view)) if self.words else x


class Split(ABC):
    """Abstract: images (C, H, W), uint8 or float32, with targets, numbered from 0.

    labels: (N,) int64, each sample's class, where samples have one that is known without reading them; else None.
    draws: whether reading a sample draws at random what it looks like, beside the data's augmentation. photos: whether
    reading can crop it at random. content: whether the fingerprint is over what is in files; otherwise over their names
    and sizes.
    """

    labels: Tensor | None
    draws: bool = False
    photos: bool = False
    content: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, rows: Tensor) -> Self:
        """The samples of these numbers, numbered anew."""

    @property
    def weights(self) -> Tensor | None:
        """(N,), by which training draws them, with replacement; None: each comes once."""
        return None

    @property
    def side(self) -> tuple[int, int] | None:
        """Height and width to which pictures are brought before they are normalised; None: they stay as they come."""
        return None

    @property
    def strata(self) -> Tensor | None:
        """(N,) int64, of which fair parts of the samples have the same shares; None if it isn't known."""
        return self.labels

    def column(self, number: int) -> Split:
        """Those that have a label in this column, with it alone."""
        raise DataError(f"{type(self).__name__}: its samples have no label columns.")

    @abstractmethod
    def read(self, lots: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """For each lot of numbers, the images (B, C, H, W) and the targets (B, …)."""

    @abstractmethod
    def fingerprint(self) -> str:
        """The sha256 of what identifies the samples."""


class InMemorySplit(Split):
    """Images (N, C, H, W) and targets (N,), label columns (N, K) or masks (N, H, W) in memory.

    rows: those that belong (None: all).
    """

    def __init__(self, images: Tensor, targets: Tensor, rows: Tensor | None = None) -> None:
        self.images, self.targets = images, targets
        self.rows = torch.arange(len(images)) if rows is None else rows
        self.labels = targets[self.rows].long() if targets.dim() == 1 else None

    @property
    def side(self) -> tuple[int, int]:
        """That of memory."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def strata(self) -> Tensor | None:
        """The classes; of label columns, which of the combinations that there are."""
        if self.targets.dim() != 2:
            return self.labels
        return self.targets[self.rows].unique(dim=0, return_inverse=True)[1]

    def column(self, number: int) -> InMemorySplit:
        """The same memory."""
        targets = self.targets[:, number]
        return InMemorySplit(self.images, targets, self.rows[targets[self.rows] >= 0])

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor) -> Self:
        """The same memory, other rows."""
        return type(self)(self.images, self.targets, self.rows[rows])

    def read(self, lots: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Copies of the rows, after the look's words; workers change nothing here."""
        for lot in lots:
            rows = self.rows[lot]
            images = self.images[rows]
            if augmentation.words:
                images = torch.stack([augmentation.altered(x, int(n)) for x, n in zip(images, lot, strict=True)])
            yield images, self.targets[rows].long()

    def fingerprint(self) -> str:
        """Over every pixel and target."""
        digest = hashlib.sha256(str(tuple(self.images.shape[1:])).encode())
        for images, targets in self.read(list(torch.arange(len(self))[:, None]), ViewSeed()):
            digest.update(images.numpy().data)
            digest.update(targets.numpy().data)
        return digest.hexdigest()


class ClassSubset(Split):
    """The samples of some classes, numbered anew; numbers: (C,) each class's new number, -1 for the others."""

    def __init__(self, samples: Split, numbers: Tensor) -> None:
        assert samples.labels is not None
        self.samples = samples.take((numbers[samples.labels] >= 0).nonzero()[:, 0])
        self.numbers, self.draws, self.photos = numbers, samples.draws, samples.photos
        self.labels = numbers[samples.labels][numbers[samples.labels] >= 0]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def weights(self) -> Tensor | None:
        """Theirs."""
        return self.samples.weights

    @property
    def side(self) -> tuple[int, int] | None:
        """Theirs."""
        return self.samples.side

    def take(self, rows: Tensor) -> Self:
        """Some of them."""
        return type(self)(self.samples.take(rows), self.numbers)

    def read(self, lots: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Images as they are, targets as the classes are numbered here."""
        for images, targets in self.samples.read(lots, augmentation, workers):
            yield images, self.numbers[targets]

    def fingerprint(self) -> str:
        """The samples' and the numbers'."""
        return hashlib.sha256(f"{self.samples.fingerprint()} {self.numbers.tolist()}".encode()).hexdigest()


class LazySplit(Split):
    """Abstract: samples that are read one by one, in worker processes if asked."""

    @abstractmethod
    def item(self, number: int, augmentation: ViewSeed) -> tuple[Tensor, Tensor]:
        """One image (C, H, W) with its target; DataError if it can't be read."""

    def read(self, lots: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Item by item, stacked; an item's DataError is raised here, also from a worker."""
        loader: Any = DataLoader(
            _Reader(self, augmentation),
            batch_sampler=[lot.tolist() for lot in lots],
            num_workers=workers,
            collate_fn=_stack,
            generator=torch.Generator(),
        )
        for got in loader:
            if isinstance(got, DataError):
                raise got
            yield got


class _Reader(Dataset[Any]):
    """Items, with an error as an item: raised in a worker it would arrive wrapped in a traceback."""

    def __init__(self, samples: LazySplit, augmentation: ViewSeed) -> None:
        self.samples, self.augmentation = samples, augmentation

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor] | DataError:
        try:
            x, y = self.samples.item(number, self.augmentation)
            return self.augmentation.altered(x, number), y
        except DataError as error:
            return error


def _stack(items: list[Any]) -> tuple[Tensor, Tensor] | DataError:
    for item in items:
        if isinstance(item, DataError):
            return item
    for shapes in ({tuple(x.shape) for x, _ in items}, {tuple(y.shape) for _, y in items}):
        if len(shapes) > 1:
            return DataError(f"samples of different shapes {sorted(shapes)} in one batch: bring them to one size.")
    return torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])
