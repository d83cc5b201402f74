"""A loaded data set and its batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from tutelage.data import alter, modalities
from tutelage.data.batch_parts import concatenate_parts, concatenate_streams
from tutelage.data.batch_sampler import at_least, compose_batches, epoch_batches, steps_per_epoch
from tutelage.data.derived import Derivation
from tutelage.data.input_fields import InputField
from tutelage.data.map_targets import MapForm
from tutelage.data.modalities.base import Modality
from tutelage.data.moving_targets import moved_map, moved_objects
from tutelage.data.multitask_targets import column_slices
from tutelage.data.query_order import query_batches, query_steps
from tutelage.data.scale import PIXELS, Numbers, SourceScale, normalise
from tutelage.data.splits import Split, ViewSeed
from tutelage.data.streams import Lap, Stream, refuse_composed, stream_laps, stream_steps
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ConfigError, unknown
from tutelage.structures import Batch, JoinedInputs, move

SPLITS = ("train", "val", "test")


@dataclass(eq=False)
class DataModule:
    """A data set in three splits.

    Args:
        name: the name it was loaded by.
        task: the name of its task: "classification", "segmentation", "regression" …
        classes: class names; those of several label columns one column after the other; () without classes.
        channels: channels of the inputs that models get; a table's columns.
        size: the lengths of the inputs after the channels: an image's height and width, a series's length, () for
            table rows.
        mean, std: per channel, of images in [0, 1], or of other inputs' values. They normalise the inputs; those that a
            pre-trained model expects may replace them.
        train, val, test: the splits.
        augment: training augmentation: "none", "shift" (pad and crop), "crop-flip" (also flip left-right),
            "crop-flip-SIDE" (a window of that size) or "resized-crop" (photos: random resized crop and flip), and the
            policies of data/alter.py, joined by "+".
        columns: for samples with several labels, each label column's name and number of classes.
        column_name: the selected column, if the data had several.
        notes: messages for the user, such as about files that were skipped.
        source_scale: the scale of the image values before normalisation; where it isn't known the values are left
            unchanged, with mean 0 and std 1.
        loader_keys: configuration keys of a run that the data sets.
        modality: the kind of inputs (`data.modalities`): "image", "table", "series", "clip" …
        target: the kind of targets: "label", "labels" (one in each column), "label set" (of independent labels),
            "mask", "map" (of values), "values", "grades", "objects" (a mapping of tensors for each sample) or "none".
        values: of values and maps, their names and scale.
        map_form: of maps, how their channels change when the images are flipped or resized.
        input_names: the names of the inputs' channels, such as a table's columns, if they have any.
        source_options: the options that it was loaded with: its source's (target, group, drop), those of a split by
            class, and those of a task that it didn't name.
        fields: of samples with several inputs, an `InputField` for each by name; the first is read.
        input_name, channel_numbers, view, others, full: set by `data.input_views`: the field and the channels that are
            read, the names that were chosen, other views that batches have too, and the data before the choice.
        encoding: the encoding of a table's columns, as JSON, if they were encoded.
        streams: the parts of train, if others than labelled samples belong to it.
        probe: labelled data by which networks are judged that are trained on data without labels.
        derivation: the making of inputs and targets of the samples' inputs, in place of these and of their targets.

    Raises: ConfigError if mean and std don't fit the channels, the columns don't fit the classes, or the augmentation
    is unknown or doesn't fit.

    Example:
        >>> from tutelage import data
        >>> digits = data.load("digits")
        >>> next(digits.batches("train", 32)).inputs.shape
        torch.Size([32, 1, 8, 8])
    """

    name: str
    task: str
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    val: Split
    test: Split
    augment: str = "none"
    columns: Mapping[str, int] = field(default_factory=dict)
    column_name: str = ""
    notes: tuple[str, ...] = ()
    source_scale: SourceScale = PIXELS
    loader_keys: Mapping[str, int] = field(default_factory=dict)
    modality: str = "image"
    target: str = "label"
    values: ValueTargets | None = None
    map_form: MapForm | None = None
    input_names: tuple[str, ...] = ()
    source_options: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, InputField] = field(default_factory=dict)
    input_name: str = ""
    channel_numbers: tuple[int, ...] | None = None
    view: tuple[str, ...] = ()
    others: Mapping[str, DataModule] = field(default_factory=dict)
    full: DataModule | None = None
    encoding: str = ""
    probe: DataModule | None = None
    streams: tuple[Stream, ...] = ()
    derivation: Derivation | None = None

    def __post_init__(self) -> None:
        expected = len(self.classes) if self.task == "multi_task" else 0
        if sum(self.columns.values()) != expected:
            raise ConfigError(
                f"data {self.name!r}: columns {dict(self.columns)} for {self.task} of {len(self.classes)} classes: "
                f"expected {expected} classes in total."
            )
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise ConfigError(
                f"data {self.name!r}: mean={self.mean}, std={self.std}: expected {self.channels} numbers each, "
                f"one per channel, std above 0."
            )
        if len(self.size) != self.kind.positions:
            raise ConfigError(
                f"data {self.name!r}: size={self.size}: expected {self.kind.positions} lengths, as {self.modality} "
                "data has."
            )
        self.kind.refuse_augment(self.name, alter.parse_augment(self.augment))
        alter.refuse_unsuitable(self.name, self.augment, self.target, bool(self.fields), self.train.can_crop)

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
        sampling: str = "shuffled",
        group_size: int = 1,
        num_views: int = 1,
    ) -> Iterator[Batch]:
        """Iterate over the batches of one epoch from batch `start` on: a function of the arguments only.

        A batch has inputs (B, C, …) float32, normalised; targets: classes (B,) int64, masks (B, H, W) int64 with 255
        at unlabelled pixels, label sets (B, C) float32 (1, 0, or -1 where it isn't known), scaled values (B, T)
        float32, maps of such (B, T, h, w) with NaN where they aren't known, or None without labels; index (B,) int64,
        the sample numbers in the split; and, if the samples have groups, `extras["groups"]` (B,) int64.

        Args:
            split: "train", "val" or "test".
            batch_size: samples per batch of one rank.
            seed, epoch: determine the order and the augmentation.
            start: number of the first batch.
            train: whether to shuffle and augment; None: for split "train" only.
            device, memory_format: of the tensors.
            workers: processes that read files.
            rank, world: this process and the number of processes.
            views: epochs after which augmentations repeat (None: never). They are then addressed by view_seed in place
                of the seed, so that runs with other seeds get the same augmented images.
            view_seed: the seed of repeated augmentations.
            sampling, group_size, num_views: further samples, or further views of the same samples, that follow the
                `batch_size` samples of a batch (data.batch_sampler.compose_batches); each part gets its own
                augmentation.

        Raises: ConfigError for arguments out of range; DataError, naming the file, for an image that can't be read.
        """
        if split not in SPLITS:
            raise ConfigError(unknown("split", split, SPLITS))
        at_least(1, batch_size=batch_size, world=world, views=1 if views is None else views)
        at_least(0, epoch=epoch, start=start, workers=workers, rank=rank)
        if rank >= world:
            raise ConfigError(f"rank={rank}: expected a number below world={world}.")
        samples: Split = getattr(self, split)
        train = split == "train" if train is None else train
        if train and split == "train" and self.streams:
            refuse_composed(self.name, self.streams, sampling, num_views)
            rows = stream_laps(self.streams, batch_size, seed=seed, epoch=epoch, start=start, rank=rank, world=world)
            address = (view_seed, epoch % views) if views else (seed, None)
            return self._stream_batches(rows, address, (torch.device(device), memory_format, workers))
        order: dict[str, Any] = {"seed": seed, "shuffle": train, "rank": rank, "world": world}
        in_order = {"in_order": samples.in_order}
        epoch_index = (
            partial(query_batches, samples.groups, batch_size, **order)
            if samples.whole_groups and samples.groups is not None
            else partial(epoch_batches, len(samples), batch_size, weights=samples.weights, **order | in_order)
        )
        batches = epoch_index(epoch=epoch)
        before = epoch_index(epoch=epoch - 1)[-1] if sampling == "overlapping" and len(samples) else None
        companions: dict[str, Any] = {"labels": samples.labels, "group_size": group_size, "seed": seed, "epoch": epoch}
        parts = compose_batches(batches, sampling, num_views=num_views, before=before, **companions)
        if train and views:
            seed, epoch = view_seed, epoch % views
            if split == "train" and len(parts) == 1:
                return self.view_batches(batches[start:], epoch, seed, device, memory_format, workers)
        place: Any = (train, torch.device(device), memory_format, workers)
        streams = []
        for number, part in enumerate(parts):
            augmentation = self._view_seed(seed, len(parts) * epoch + number) if train else ViewSeed()
            streams.append(self._load_batches(samples, part[start:], augmentation, *place))
        return streams[0] if len(streams) == 1 else map(concatenate_parts, zip(*streams, strict=True))

    def view_batches(
        self,
        batches: list[Tensor],
        view: int,
        view_seed: int = 0,
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format | None = None,
        workers: int = 0,
    ) -> Iterator[Batch]:
        """Iterate over batches of these training samples, augmented as in one of the counted views."""
        augmentation = self._view_seed(view_seed, view)
        for batch in self._load_batches(
            self.train, batches, augmentation, True, torch.device(device), memory_format, workers
        ):
            yield replace(batch, view=view)

    def _stream_batches(
        self, laps: list[list[Lap]], address: tuple[int, int | None], place: tuple[Any, ...]
    ) -> Iterator[Batch]:
        """Yield batches of a part from each stream.

        address: the seed of the augmentation, and the view of all samples; None: another one in each pass.
        """
        seed, view = address
        parts = [
            chain.from_iterable(
                self._load_batches(self.train, rows, self._view_seed(seed, lap if view is None else view), True, *place)
                for lap, rows in of_stream
            )
            for of_stream in laps
        ]
        names = [stream.name for stream in self.streams]
        for of_batch in zip(*parts, strict=True):
            yield replace(concatenate_streams(dict(zip(names, of_batch, strict=True)), self.target), view=view)

    def column(self, name: str) -> DataModule:
        """Return the data with the labels of one column only, and the samples that have a label in it.

        Raises: ConfigError if there is no such column.
        """
        if name not in self.columns:
            single = f"column={name}: its samples have a single label; remove the column."
            fault = unknown("column", name, self.columns) if self.columns else single
            raise ConfigError(f"data {self.name!r}: {fault}")
        number = list(self.columns).index(name)
        own = self.classes[column_slices([*self.columns.values()])[number]]
        classes = tuple(c.removeprefix(f"{name}=") for c in own)
        changes: dict[str, Any] = {"task": "classification", "classes": classes, "columns": {}, "column_name": name}
        return replace(self.map_splits(lambda samples: samples.column(number)), **changes)

    def normalised_by(self, mean: Numbers, std: Numbers, known: bool = True) -> DataModule:
        """Return the data with the normalisation that a network expects.

        Data declared as normalised by unknown statistics are returned unchanged.

        Args:
            mean, std: per channel.
            known: whether they refer to pixels in [0, 1]; if not, the network expects floats on its own training data's
                scale.

        Raises: ConfigError if the conversion from the data's scale to the network's isn't known.
        """
        numbers = self.source_scale.normalisation_for(self.name, (mean, std), known, (self.mean, self.std))
        return self if numbers == (self.mean, self.std) else replace(self, mean=numbers[0], std=numbers[1])

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that may be read: all, or without a sealed test."""
        return SPLITS[:-1] if self.test.is_sealed else SPLITS

    @property
    def judged_on(self) -> str:
        """The name of the split whose figures judge networks: "test", or "val" if test is sealed."""
        return self.splits[-1]

    @property
    def judged(self) -> Split:
        """The split whose figures judge networks."""
        return getattr(self, self.judged_on)

    def map_splits(self, change: Callable[[Split], Split]) -> DataModule:
        """Return the data with a change of each split that may be read."""
        changes: dict[str, Any] = {split: change(getattr(self, split)) for split in self.splits}
        return replace(self, **changes)

    @property
    def labelled(self) -> DataModule:
        """The data whose training samples are the labelled stream's; the data itself if there are no others."""
        first = self.streams[0].count if self.streams else 0
        return replace(self, train=self.train.take(torch.arange(first)), streams=()) if self.streams else self

    @property
    def kind(self) -> Modality:
        """The inputs' modality."""
        return modalities.find(self.modality)

    def example(self, samples: int = 1) -> Batch:
        """Return a batch of zeros, inputs (samples, C, …), to measure networks with."""
        others = self.others.items()
        views = {name: other.kind.example(other.channels, other.size, samples) for name, other in others}
        x = self.kind.example(self.channels, self.size, samples)
        if self.derivation is not None:
            return Batch(self.derivation.apply(x, torch.arange(samples), ViewSeed())[0], views=views)
        return Batch(x, views=views)

    @cached_property
    def _augmentations(self) -> set[str]:
        return {*alter.parse_augment(self.augment)}

    def _view_seed(self, seed: int, view: int) -> ViewSeed:
        """Return the address and the augmentation of a training view."""
        words = alter.parse_augment(self.augment)
        policies = tuple(word for word in words if not alter.is_crop(word) and word not in alter.EFFECTS)
        return ViewSeed(seed, view, "resized-crop" in words, policies, "time-crop" in words)

    @property
    def is_random(self) -> bool:
        """True if a training sample differs from view to view."""
        derived = self.derivation is not None and self.derivation.is_random
        others = any(x.is_random for x in self.others.values())
        return self.augment != "none" or self.train.is_random or others or derived

    def steps(self, batch_size: int, world: int = 1) -> int:
        """Return the number of batches of a training epoch on each of `world` ranks."""
        at_least(1, batch_size=batch_size, world=world)
        if self.streams:
            return stream_steps(self.streams, batch_size, world)
        if self.train.whole_groups and self.train.groups is not None:
            return query_steps(self.train.groups, batch_size, world)
        return steps_per_epoch(len(self.train), batch_size, world)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the data's identity: classes, pixels and targets (files: their names, sizes and targets)."""
        identity = [self.task, self.classes, self.size, *(getattr(self, split).fingerprint() for split in self.splits)]
        identity += [] if self.values is None else [self.values.names, self.values.mean, self.values.std]
        identity += [self.view] if self.view else []
        identity += [] if self.derivation is None else [repr(self.derivation)]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def _load_batches(
        self,
        samples: Split,
        batches: list[Tensor],
        augmentation: ViewSeed,
        train: bool,
        device: torch.device,
        memory_format: torch.memory_format | None,
        workers: int,
    ) -> Iterator[Batch]:
        for index, (x, y) in zip(batches, samples.read(batches, augmentation, workers), strict=True):
            groups = {} if samples.groups is None else {"groups": samples.groups[index].to(device)}
            objects, y = (y, None) if isinstance(y, list) else (None, y)
            index, x, y = index.to(device), move(x, device), None if y is None else y.to(device)
            mask = y if self.target == "mask" else None
            address = (index, augmentation, train)
            place: Any = (x, self.size, index, augmentation, self._augmentations if train else ())
            y = y if self.map_form is None or y is None else moved_map(self.map_form, y, *place)
            objects = None if objects is None else moved_objects(self.kind, objects, *place)
            views = {name: other.prepare_inputs(x, None, *address)[0] for name, other in self.others.items()}
            x, mask = self.prepare_inputs(x, mask, *address)
            y = y if self.values is None or y is None else self.values.scale(y)
            if self.derivation is not None:
                x, y = self.derivation.apply(x, index, augmentation)
            more: dict[str, Any] = {"extras": groups, "views": views, "objects": objects}
            batch = Batch(x, y if mask is None else mask, index, columns=tuple(self.columns.values()), **more)
            yield batch.to(device, memory_format)

    def prepare_inputs(
        self, raw: Tensor | Mapping[str, Tensor], mask: Tensor | None, index: Tensor, view: ViewSeed, train: bool
    ) -> tuple[Any, Tensor | None]:
        """Return what this view reads of samples' raw inputs, augmented in training, normalised and sized.

        Fields of one size are augmented alike, since the address of their random numbers is the sample's.
        """
        if isinstance(raw, JoinedInputs):
            return raw, mask
        x = raw if isinstance(raw, Tensor) else raw[self.input_name or next(iter(raw))]
        x = x if self.channel_numbers is None else x[:, list(self.channel_numbers)]
        if train:
            x, mask = self.kind.augment(x, mask, index, view, self._augmentations)
        x, mask = self.kind.resize(normalise(x, self.mean, self.std, self.source_scale), mask, self.size)
        return self.kind.cut(x, mask, index, view, self._augmentations) if train else (x, mask)
