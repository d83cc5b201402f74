"""Somebody's own map-style Datasets as Data."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from tutelage.data.augment import bits
from tutelage.data.base import Data
from tutelage.data.decode import tensor_of
from tutelage.data.found import Found, data_of
from tutelage.data.samples import Listed, Look
from tutelage.errors import DataError


def from_datasets(
    train: Any,
    val: Any = None,
    test: Any = None,
    *,
    classes: int | Sequence[str],
    name: str = "datasets",
    task: str = "classification",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    augment: str = "none",
    val_fraction: float = 0.1,
    seed: int = 0,
) -> Data:
    """Data of map-style Datasets, or of DataLoaders (whose .dataset is taken, and nothing else of them).

    They yield (x, y): x a tensor (C, H, W), uint8 or float, or a PIL image, all of one size; y the class, or for task
    "segmentation" a mask (H, W), 255 = ignore. classes: their names, or how many.
    mean, std: of images in [0, 1]; without both they are measured for uint8 and PIL, while floats are taken to be
    normalised already (0 and 1).
    What the Datasets draw from the global generators of torch, numpy and random is a function of (seed, sample, epoch).
    Missing splits are cut from train, and then go through train's own transforms.
    Raises: DataError for streams, for a DataLoader with its own collate_fn, and for samples that aren't as above.
    """
    splits = {"train": train, "val": val, "test": test}
    found = found_in({s: given for s, given in splits.items() if given is not None}, classes, task, augment)
    if mean is not None and std is not None:
        found.mean, found.std = tuple(mean), tuple(std)
    return data_of(name, found, val=val_fraction, seed=seed)


def found_in(splits: dict[str, Any], classes: int | Sequence[str], task: str, augment: str = "none") -> Found:
    """What is in the Datasets of the splits, as their first sample shows it."""
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    mapped = {split: Mapped(_map_style(split, given), len(names), task, split) for split, given in splits.items()}
    first, _ = mapped["train"].item(0, Look())
    channels, height, width = first.shape
    found = Found(task, names, (height, width), augment, mapped)
    if first.is_floating_point():
        found.mean, found.std = (0.0,) * channels, (1.0,) * channels
    return found


def _map_style(split: str, given: Any) -> Any:
    if isinstance(given, DataLoader):
        if given.collate_fn is not default_collate:
            raise DataError(
                f"{split}: a DataLoader with its own collate_fn: give its Dataset, yielding (x, y), or move what the "
                "collate_fn does into the Dataset."
            )
        given = given.dataset
    if isinstance(given, IterableDataset) or not hasattr(given, "__getitem__") or not hasattr(given, "__len__"):
        raise DataError(f"{split}: {type(given).__name__} has no length and items: expected a map-style Dataset.")
    if not len(given):
        raise DataError(f"{split}: the Dataset is empty: expected one sample or more.")
    return given


class Mapped(Listed):
    """The samples of a map-style Dataset; `rows`: those that belong (None: all)."""

    draws = True

    def __init__(self, dataset: Any, classes: int, task: str, split: str, rows: Tensor | None = None) -> None:
        self.dataset, self.classes, self.task, self.split = dataset, classes, task, split
        self.rows = torch.arange(len(dataset)) if rows is None else rows
        self.labels = self._labels() if task == "classification" else None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor) -> Self:
        """The same Dataset, other rows."""
        return type(self)(self.dataset, self.classes, self.task, self.split, self.rows[rows])

    def item(self, number: int, look: Look) -> tuple[Tensor, Tensor]:
        """The Dataset's item, checked."""
        row = int(self.rows[number])
        with _global_generators(look, number):
            try:
                x, y = self.dataset[row]
            except Exception as error:  # the user's code may raise anything
                raise DataError(
                    f"{self.split}: sample {row} can't be read ({type(error).__name__}: {error})."
                ) from error
        return self._image(row, x), self._target(row, y)

    def fingerprint(self) -> str:
        """Over the number of samples and up to 64 evenly spaced ones."""
        digest = hashlib.sha256(str(self.rows.tolist()).encode())
        for number in torch.linspace(0, len(self) - 1, min(64, len(self)), dtype=torch.float64).long().tolist():
            for value in self.item(number, Look()):
                digest.update(value.contiguous().numpy().data)
        return digest.hexdigest()

    def _labels(self) -> Tensor | None:
        """Those of the Dataset's `targets`, as torchvision has them; None if it hasn't."""
        labels = getattr(self.dataset, "targets", None)
        if labels is None or len(labels) != len(self.dataset):
            return None
        labels = torch.as_tensor(labels)[self.rows].long()
        if labels.min() < 0 or labels.max() >= self.classes:
            raise DataError(
                f"{self.split}: the Dataset's targets go from {int(labels.min())} to {int(labels.max())}, but there "
                f"are {self.classes} classes (0 to {self.classes - 1})."
            )
        return labels

    def _image(self, row: int, x: Any) -> Tensor:
        if hasattr(x, "convert"):
            x = tensor_of(x if x.mode == "L" else x.convert("RGB"))
        if not isinstance(x, Tensor) or x.dim() != 3 or not (x.dtype == torch.uint8 or x.is_floating_point()):
            what = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise DataError(
                f"{self.split}: sample {row} is {what}: expected a uint8 or float tensor (C, H, W), or a PIL image."
            )
        if not x.isfinite().all():
            raise DataError(f"{self.split}: sample {row} has NaN or infinite pixels.")
        return x

    def _target(self, row: int, y: Any) -> Tensor:
        y = torch.as_tensor(y)
        if y.is_floating_point() or y.dim() != (2 if self.task == "segmentation" else 0):
            raise DataError(
                f"{self.split}: sample {row} has a target {y.dtype} of shape {tuple(y.shape)}: "
                "expected an integer class, or for segmentation a mask (H, W) of them."
            )
        counts = y[y != 255] if self.task == "segmentation" else y
        if counts.numel() and (counts.min() < 0 or counts.max() >= self.classes):
            raise DataError(
                f"{self.split}: sample {row} has labels from {int(counts.min())} to {int(counts.max())}, but there are "
                f"{self.classes} classes (0 to {self.classes - 1})."
            )
        return y.long()


@contextmanager
def _global_generators(look: Look, number: int) -> Iterator[None]:
    """Inside, torch, numpy and random start from the sample's own address; after, they are as before."""
    state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    address = int(bits(look.seed, torch.tensor([number]), look.view, 1)) % 2**32
    torch.default_generator.manual_seed(address)
    np.random.seed(address)
    random.seed(address)
    try:
        yield
    finally:
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])
        random.setstate(state[2])
