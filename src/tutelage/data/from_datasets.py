"""Somebody's own map-style Datasets as Data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.data.augment import at_address
from tutelage.data.data_module import DataModule
from tutelage.data.items import Field, Items, are_pixels, parts, refuse_fields, said
from tutelage.data.loaders import LoaderSettings, asked_of
from tutelage.data.own_classes import class_names, labels_said
from tutelage.data.preparation import VAL, SourceData, made
from tutelage.data.scale import Scale
from tutelage.data.splits import IGNORE, LazySplit, ViewSeed
from tutelage.errors import ConfigError, DataError, unknown

TASKS = ("classification", "segmentation")
PROBED = 64
"""So many samples, evenly spaced, are read before anything is trained."""


def from_datasets(
    train: Any,
    val: Any = None,
    test: Any = None,
    *,
    classes: int | Sequence[str] | None = None,
    name: str = "datasets",
    task: str = "classification",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalised: bool | tuple[Sequence[float], Sequence[float]] | None = None,
    fields: tuple[Field, Field] | None = None,
    augment: str = "none",
    val_fraction: float = VAL,
    seed: int = 0,
) -> DataModule:
    """Data of map-style Datasets, or of DataLoaders of such.

    They yield (x, y): x a tensor (C, H, W), uint8 or float, an array (H, W) or (H, W, C), or a PIL image, all of one
    size; y the class, by number or name, or for task "segmentation" a mask (H, W), 255 = ignore. fields: which two
    parts of an item these are, by name or number, if it is neither a pair nor a dict of an image and a label.
    classes: their names, or how many; None: those that the Dataset says. Of one that says its own, a part may be named.
    mean, std: of images in [0, 1], to normalise them by; bytes without both are measured, floats are left as they are.
    normalised: whether floats are so already (False: they are pixels in [0, 1]), or by which mean and deviation. A
    network that states its normalisation needs to know: it gets floats converted, or as they are if that is True.
    A DataLoader's batch size, workers, subset and weights of samples hold for training; what can't be honoured of it is
    refused. What Datasets draw from the global generators of torch, numpy and random is a function of (seed, sample,
    epoch). Missing splits are cut from train, and then go through train's own transforms.
    Raises: ConfigError for options that don't fit; DataError for streams and for samples that aren't as above.
    """
    splits = {"train": train, "val": val, "test": test}
    given = Datasets({s: d for s, d in splits.items() if d is not None}, classes, name, mean, std, normalised, fields)
    return given.data(task=task, val=val_fraction, seed=seed, augment=augment)


@dataclass
class Datasets:
    """Somebody's Datasets by split, and what is said of them (from_datasets), until it is known what a run asks."""

    splits: Mapping[str, Any]
    classes: int | Sequence[str] | None = None
    name: str = "datasets"
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    normalised: bool | tuple[Sequence[float], Sequence[float]] | None = None
    fields: tuple[Field, Field] | None = None
    asked: dict[str, LoaderSettings] = field(init=False)

    def __post_init__(self) -> None:
        if "train" not in self.splits:
            raise DataError(f"there is no train split, only {', '.join(self.splits) or 'nothing'}: give one.")
        if self.fields is not None:
            refuse_fields(self.fields)
        self.asked = {split: asked_of(split, given) for split, given in self.splits.items()}

    @property
    def loading(self) -> dict[str, int]:
        """Keys of a run that the DataLoader of train sets."""
        train = self.asked["train"]
        return {k: v for k, v in {"batch_size": train.batch_size, "workers": train.workers}.items() if v}

    def data(self, *, task: str | None = None, size: tuple[int, int] | None = None, **options: Any) -> DataModule:
        """The Data, as a run asks for it."""
        names, only = class_names(self.asked["train"].dataset, self.classes, self.fields)
        found = self.found(names, task or "classification", size)
        return made(self.name, found, classes=only, loading=self.loading, **options)

    def found(self, classes: tuple[str, ...], task: str, size: tuple[int, int] | None = None) -> SourceData:
        """What is in them, as the first sample of each shows it."""
        if task not in TASKS:
            raise ConfigError(unknown("task of Datasets", task, TASKS))
        items = Items(task, classes, self.fields)
        mapped = {split: MapStyleSplit(asked, items, split) for split, asked in self.asked.items()}
        first, _ = mapped["train"].item(0, ViewSeed())
        for samples in mapped.values():
            samples.like = first
            samples.probe()
        pixels = are_pixels(parts(mapped["train"].got(0, ViewSeed()), self.fields)[0])
        scale = Scale.measured(first, pixels, self.mean, self.std, self.normalised)
        return SourceData(task, classes, size or (first.shape[1], first.shape[2]), "none", mapped, scale=scale)


class MapStyleSplit(LazySplit):
    """The samples of a map-style Dataset; `rows`: those that belong (None: all that are asked for).

    like: an image, of whose channels and kind all have to be.
    """

    draws = True

    def __init__(self, asked: LoaderSettings, items: Items, split: str, rows: Tensor | None = None) -> None:
        self.asked, self.items, self.split = asked, items, split
        every = torch.arange(len(asked.dataset)) if asked.rows is None else asked.rows
        self.rows = every if rows is None else rows
        self.labels: Tensor | None = None
        self.like: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def weights(self) -> Tensor | None:
        """How often each is drawn, where a sampler says so."""
        return None if self.asked.weights is None else self.asked.weights[self.rows]

    def take(self, rows: Tensor) -> Self:
        """The same Dataset, other rows."""
        other = type(self)(self.asked, self.items, self.split, self.rows[rows])
        other.labels, other.like = None if self.labels is None else self.labels[rows], self.like
        other.content = self.content
        return other

    def item(self, number: int, augmentation: ViewSeed) -> tuple[Tensor, Tensor]:
        """The Dataset's item, checked."""
        got, row = self.got(number, augmentation), int(self.rows[number])
        try:
            x, y = self.items.sample(got)
            self._compare(x)
            if self.labels is not None and y != self.labels[number]:
                raise DataError(
                    f"is of class {int(y)}, the Dataset's targets say {int(self.labels[number])}: correct them, or "
                    "leave `targets` out."
                )
        except DataError as error:
            raise DataError(f"{self.split}: sample {row} {error}") from error
        return x, y

    def got(self, number: int, augmentation: ViewSeed) -> Any:
        """The Dataset's item, as it comes."""
        row = int(self.rows[number])
        with at_address(augmentation.seed, number, augmentation.view):
            try:
                return self.asked.dataset[row]
            except Exception as error:  # the user's code may raise anything
                raise DataError(
                    f"{self.split}: sample {row} can't be read ({type(error).__name__}: {error})."
                ) from error

    def probe(self) -> None:
        """Read some samples, so that what is wrong in all is said at once; know the labels if `targets` says them."""
        some, masks = self._evenly(), self.items.task == "segmentation"
        with at_address(0, 0, 0):  # a target_transform may draw
            claims = [] if masks else labels_said(self.asked.dataset, self.items.classes)
        truth = [self.item(n, ViewSeed())[1] for n in (some if claims or masks else some[:1])]
        if masks and torch.cat([y.unique() for y in truth]).unique().tolist() == [0, IGNORE]:
            raise DataError(
                f"{self.split}: the masks of {len(truth)} samples have only 0 and {IGNORE}, and {IGNORE} means that "
                "nothing is known of a pixel: if it is a class, give its number in the Dataset."
            )
        for claim in claims:
            labels = claim[self.rows]
            if labels[some].equal(torch.stack(truth)):
                self._refuse_beyond(labels)
                self.labels = labels
                return

    def fingerprint(self) -> str:
        """Over the rows, 64 evenly spaced samples (for `content` all), and the weights by which they are drawn."""
        digest = hashlib.sha256(str(self.rows.tolist()).encode())
        for number in range(len(self)) if self.content else self._evenly():
            for value in self.item(number, ViewSeed()):
                digest.update(value.contiguous().numpy().data)
        if self.weights is not None:
            digest.update(self.weights.numpy().data)
        return digest.hexdigest()

    def _evenly(self) -> list[int]:
        return torch.linspace(0, len(self) - 1, min(PROBED, len(self)), dtype=torch.float64).long().tolist()

    def _compare(self, x: Tensor) -> None:
        like = self.like
        if like is not None and (len(x), x.is_floating_point()) != (len(like), like.is_floating_point()):
            raise DataError(f"is {said(x)}, the first of train {said(like)}: expected the same channels and kind.")

    def _refuse_beyond(self, labels: Tensor) -> None:
        classes = len(self.items.classes)
        if labels.min() < 0 or labels.max() >= classes:
            raise DataError(
                f"{self.split}: the Dataset's targets go from {int(labels.min())} to {int(labels.max())}, but there "
                f"are {classes} classes (0 to {classes - 1})."
            )
