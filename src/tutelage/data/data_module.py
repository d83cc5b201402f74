"""Data: what was loaded by name, and its batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data import alter
from tutelage.data.augment import crop_flip
from tutelage.data.batch_sampler import compose_batches, steps
from tutelage.data.batch_sampler import epoch_batches as walked
from tutelage.data.multitask_targets import spans
from tutelage.data.scale import PIXELS, Numbers, SourceScale, standard
from tutelage.data.splits import IGNORE, Split, ViewSeed
from tutelage.errors import ConfigError, unknown
from tutelage.structures import Batch

SPLITS = ("train", "val", "test")


@dataclass(eq=False)
class DataModule:
    """A data set in three splits.

    name: as it was asked for. task: "classification", "segmentation", or "multi_task". channels, size (height, width):
    of what models get. mean, std: by channel, of images in [0, 1]; they normalise the inputs, and may be replaced by
    those a pre-trained model expects. augment: what training does to images: "none", "shift" (pad and crop),
    "crop-flip" (also flip left-right), or "resized-crop" (photos: random resized crop and flip), and what data/alter.py
    knows, added by "+". columns: of samples
    with several labels, each label's name and number of classes; `classes` has them one after the other. column_name:
    the column that this is, of data that had several. notes: what its user should know, such as files that were left
    out.
    came: what the values of images are before they are normalised; where that isn't known they are left as they come,
    mean 0 and std 1. loading: keys of a run that the data sets.
    Raises: ConfigError if mean and std don't fit the channels, the columns don't fit the classes, or the augmentation
    isn't known or doesn't fit.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    val: Split
    test: Split
    augment: str = "none"
    columns: Mapping[str, int] = field(default_factory=dict)
    column_name: str = ""
    notes: tuple[str, ...] = ()
    came: SourceScale = PIXELS
    loading: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = len(self.classes) if self.task == "multi_task" else 0
        if sum(self.columns.values()) != expected:
            raise ConfigError(
                f"data {self.name!r}: columns {dict(self.columns)} for {self.task} of {len(self.classes)} classes: "
                f"expected columns of {expected} classes in all."
            )
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise ConfigError(
                f"data {self.name!r}: mean={self.mean}, std={self.std}: expected {self.channels} numbers each, "
                f"one a channel, std above 0."
            )
        words = alter.words(self.augment)
        for word in words:
            alter.known(word)
        if self.task == "segmentation":
            alter.refuse_moving(self.name, words)
        if "resized-crop" in words and not self.train.photos:
            raise ConfigError(
                f"augment='resized-crop' is for photos read from files, which {self.name!r} isn't: "
                "use augment=crop-flip or shift."
            )

    def batches(
        self,
        split: str,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        train: bool | None = None,
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format | None = None,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        views: int | None = None,
        view_seed: int = 0,
        order: str = "shuffled",
        each: int = 1,
        copies: int = 1,
    ) -> Iterator[Batch]:
        """The batches of one epoch, from the `start`-th on: a function of the arguments only.

        inputs (B, C, H, W) float32, normalised; targets (B,) int64, or (B, H, W) with 255 where nothing is known;
        index (B,) int64, the samples' numbers in the split. batch_size: of one rank.
        train: shuffled and augmented (the default for split "train"), otherwise in order and as they are.
        views: epochs repeat their augmentations after so many (None: never), which are then addressed by view_seed in
        place of the seed, so that runs of other seeds see the same ones. workers: processes that read files.
        order, each, copies: further samples beside the `batch_size` of a batch, or further looks at them, after them
        (data.order.arranged); each part is augmented otherwise.
        Raises: ConfigError for arguments out of range; DataError, naming the file, for an image that can't be read.
        """
        self._check(split, batch_size, epoch, start, workers, rank, world, views)
        samples: Split = getattr(self, split)
        train = split == "train" if train is None else train
        walk = partial(
            walked, len(samples), batch_size, seed=seed, shuffle=train, rank=rank, world=world, weights=samples.weights
        )
        lots, before = walk(epoch=epoch), walk(epoch=epoch - 1)[-1] if order == "overlapping" and len(samples) else None
        parts = compose_batches(
            lots, order, labels=samples.labels, each=each, copies=copies, before=before, seed=seed, epoch=epoch
        )
        if train and views:
            seed, epoch = view_seed, epoch % views
            if split == "train" and len(parts) == 1:
                return self.viewed(lots[start:], epoch, seed, device, memory_format, workers)
        streams = []
        for number, part in enumerate(parts):
            augmentation = self._look(seed, len(parts) * epoch + number) if train else ViewSeed()
            streams.append(
                self._make(samples, part[start:], augmentation, train, torch.device(device), memory_format, workers)
            )
        return streams[0] if len(streams) == 1 else map(side_by_side, zip(*streams, strict=True))

    def viewed(
        self,
        lots: list[Tensor],
        view: int,
        view_seed: int = 0,
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format | None = None,
        workers: int = 0,
    ) -> Iterator[Batch]:
        """Batches of these training samples, as one of the counted views shows them."""
        augmentation = self._look(view_seed, view)
        for batch in self._make(self.train, lots, augmentation, True, torch.device(device), memory_format, workers):
            batch.view = view
            yield batch

    def column(self, name: str) -> DataModule:
        """The data with the labels of one column alone, and the samples that have one there.

        Raises: ConfigError if there is no such column.
        """
        if name not in self.columns:
            fault = unknown("column", name, self.columns) if self.columns else f"column={name}: it has one label alone."
            raise ConfigError(f"data {self.name!r}: {fault}")
        number = list(self.columns).index(name)
        classes = tuple(c.removeprefix(f"{name}=") for c in self.classes[spans([*self.columns.values()])[number]])
        train, val, test = (getattr(self, split).column(number) for split in SPLITS)
        one: dict[str, Any] = {"task": "classification", "classes": classes, "columns": {}, "column_name": name}
        return replace(self, train=train, val=val, test=test, **one)

    def normalised_by(self, mean: Numbers, std: Numbers, known: bool = True) -> DataModule:
        """The data, normalised as a network wants it; as it comes, if it is said to be normalised and not by what.

        known: whether these are of pixels in [0, 1]; if not, the network wants floats as its own data had them.
        Raises: ConfigError where it isn't known how one becomes the other.
        """
        if (mean, std, known) == (self.mean, self.std, self.came.known):
            return self
        if known and self.came.known:
            return replace(self, mean=mean, std=std)
        if not known:
            raise ConfigError(
                f"data {self.name!r}: a network was trained on floats of which nobody said how they were normalised, "
                f"and these are {self.came.said}: give data as it had, or train it on data that says normalised=."
            )
        if self.came.said == "normalised":
            return self
        raise ConfigError(
            f"data {self.name!r}: a network wants mean {mean} and deviation {std}, and nobody said whether the floats "
            "of this data are pixels or normalised already. Say normalised=False (pixels in [0, 1]), normalised=(mean, "
            "std) (by which they are), or normalised=True (leave them as they are)."
        )

    @cached_property
    def _words(self) -> set[str]:
        return {*alter.words(self.augment)}

    def _look(self, seed: int, view: int) -> ViewSeed:
        """How training looks at its samples."""
        further = tuple(word for word in alter.words(self.augment) if word not in alter.CROPS)
        return ViewSeed(seed, view, "resized-crop" in self._words, further)

    @property
    def random(self) -> bool:
        """Whether a training sample looks otherwise from view to view."""
        return self.augment != "none" or self.train.draws

    def steps(self, batch_size: int, world: int = 1) -> int:
        """How many batches a training epoch has, on each of `world` ranks."""
        _at_least(1, batch_size=batch_size, world=world)
        return steps(len(self.train), batch_size, world)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over what identifies the data: classes, pixels and targets (files: their names, sizes and targets)."""
        facts = [self.task, self.classes, self.size, *(getattr(self, split).fingerprint() for split in SPLITS)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _check(
        self,
        split: str,
        batch_size: int,
        epoch: int,
        start: int,
        workers: int,
        rank: int,
        world: int,
        views: int | None,
    ) -> None:
        if split not in SPLITS:
            raise ConfigError(unknown("split", split, SPLITS))
        _at_least(1, batch_size=batch_size, world=world, views=1 if views is None else views)
        _at_least(0, epoch=epoch, start=start, workers=workers, rank=rank)
        if rank >= world:
            raise ConfigError(f"rank={rank}: expected a number below world={world}.")

    def _make(
        self,
        samples: Split,
        lots: list[Tensor],
        augmentation: ViewSeed,
        train: bool,
        device: torch.device,
        memory_format: torch.memory_format | None,
        workers: int,
    ) -> Iterator[Batch]:
        for index, (x, y) in zip(lots, samples.read(lots, augmentation, workers), strict=True):
            index, x, y = index.to(device), x.to(device), y.to(device)
            if train and self._words & {"shift", "crop-flip"}:
                x, y = self._crop_flip(x, y, index, augmentation)
            x, y = self._resize(standard(x, self.mean, self.std, self.came), y)
            yield Batch(x, y, index, columns=tuple(self.columns.values())).to(device, memory_format)

    def _crop_flip(self, x: Tensor, y: Tensor, index: Tensor, augmentation: ViewSeed) -> tuple[Tensor, Tensor]:
        """Up to an eighth of the image is cut off: the usual 4 of 32 pixels."""
        pad, flip = min(x.shape[-2:]) // 8, "crop-flip" in self._words
        x = crop_flip(x, index, augmentation.seed, augmentation.view, pad, flip=flip)
        if self.task == "segmentation":
            y = crop_flip(y[:, None], index, augmentation.seed, augmentation.view, pad, flip=flip, fill=IGNORE)[:, 0]
        return x, y

    def _resize(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[-2:] == self.size:
            return x, y
        x = F.interpolate(x, self.size, mode="bilinear", antialias=True)
        if self.task == "segmentation":
            y = F.interpolate(y[:, None].float(), self.size, mode="nearest-exact")[:, 0].long()
        return x, y


def side_by_side(parts: Sequence[Batch]) -> Batch:
    """The batches of several parts as one, with the parts' sizes in `asks`."""
    targets = [part.targets for part in parts if part.targets is not None]
    index = [part.index for part in parts if part.index is not None]
    inputs = [part.inputs for part in parts if isinstance(part.inputs, Tensor)]
    extras = {"parts": tuple(map(len, parts))}
    return Batch(torch.cat(inputs), torch.cat(targets), torch.cat(index), columns=parts[0].columns, extras=extras)


def _at_least(least: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < least:
            raise ConfigError(f"{name}={value}: expected {least} or more.")
