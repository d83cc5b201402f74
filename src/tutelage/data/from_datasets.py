"""The user's own map-style Datasets as a DataModule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from tutelage.data import modalities
from tutelage.data.data_module import DataModule
from tutelage.data.field_items import FieldReader, Fields, has_named_inputs, target_of
from tutelage.data.input_fields import FieldForm
from tutelage.data.item_values import as_tensor
from tutelage.data.items import (
    UNLABELLED,
    Field,
    ItemReader,
    TargetReader,
    are_pixels,
    image_and_target,
    image_of,
    is_image_alone,
    refuse_fields,
)
from tutelage.data.loaders import LoaderSettings, loader_settings
from tutelage.data.map_style import MapStyleSplit, naming_sample
from tutelage.data.object_targets import are_objects
from tutelage.data.own_classes import class_names, dataset_class_names
from tutelage.data.preparation import VAL, SourceData, prepare_data
from tutelage.data.scale import PIXELS, SLACK, Scale, SourceScale
from tutelage.data.sealed import SealedSplit
from tutelage.data.splits import ViewSeed
from tutelage.errors import ConfigError, DataError, unknown

TARGET_KINDS = {
    "classification": "label",
    "segmentation": "mask",
    "regression": "values",
    "multi_label": "label set",
    "detection": "objects",
    UNLABELLED: "none",
}
"""The kind of targets of each task."""


def from_datasets(
    train: Any,
    val: Any = None,
    test: Any = None,
    *,
    classes: int | Sequence[str] | None = None,
    name: str = "datasets",
    task: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalised: bool | tuple[Sequence[float], Sequence[float]] | None = None,
    fields: Fields | None = None,
    modalities: Mapping[str, str] | None = None,
    augment: str = "none",
    val_fraction: float = VAL,
    seed: int = 0,
) -> DataModule:
    """Make a DataModule from map-style Datasets, or from DataLoaders of map-style Datasets.

    What Datasets draw from the global generators of torch, numpy and random is a function of (seed, sample, epoch).
    Missing splits are cut from train, and then pass through train's own transforms.

    Args:
        train: a map-style Dataset, or a DataLoader of one, that yields (x, y). x: a tensor (C, H, W), uint8 or float,
            an array (H, W) or (H, W, C), or a PIL image, all of one size; or several such inputs by name, as in
            ({"rgb": x, "depth": z}, y) or {"rgb": x, "depth": z, "label": y}, of any modality. y: the class, by number
            or name; floats, the values of a regression; for task "segmentation" a mask (H, W), 255 = ignore; for task
            "multi_label" 1 or 0 for each label; {"boxes": (n, 4), "labels": (n,)}, objects in the form of torchvision's
            detectors: x₁, y₁, x₂, y₂ in pixels of x, and classes from 0. A DataLoader's batch size, workers, subset and
            sampling weights are used for training; settings that can't be honoured are rejected.
        val, test: likewise; None: cut from train.
        classes: the names of the classes or labels, or their number; None: those of the Dataset. If the Dataset has
            class names, a subset of them selects these classes.
        name: the name in results and messages.
        task: "classification", "segmentation", "regression", "multi_label", "detection", or "backbone" for images
            without labels (a Dataset that yields x alone); None: what the first item's target tells.
        mean, std: per channel, of images in [0, 1], for normalisation; if absent they are measured on bytes, and floats
            are left unchanged.
        normalised: whether floats are already normalised (False: they are pixels in [0, 1]), or the (mean, std) that
            normalised them. Required by networks that state their normalisation: these get floats converted, or
            unchanged if True.
        fields: which two fields of an item are image and target, by name or number, if it is neither a pair nor a dict
            of an image and a label. (["rgb", "depth"], "label") names several inputs.
        modalities: of inputs by name, the modality where the shape doesn't tell it: {"wave": "series"} for (C, T),
            which is otherwise an image (H, W).
        augment: training augmentation, as in DataModule.
        val_fraction: the fraction of train that becomes the validation split if `val` is None.
        seed: chooses the validation split.

    Raises: ConfigError for options that don't fit; DataError for iterable Datasets and for samples of another form.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> images = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8)
        >>> data = from_datasets(TensorDataset(images, torch.arange(60) % 3), classes=["ant", "bee", "cat"])
        >>> len(data.train) + len(data.val) + len(data.test), data.classes
        (60, ('ant', 'bee', 'cat'))
    """
    splits = {"train": train, "val": val, "test": test}
    present = {split: dataset for split, dataset in splits.items() if dataset is not None}
    datasets = DatasetSource(present, classes, name, mean, std, normalised, fields, modalities)
    return datasets.data(task=task, val=val_fraction, seed=seed, augment=augment)


@dataclass
class DatasetSource:
    """The user's Datasets by split and the options of from_datasets, before a run's task and size are known."""

    splits: Mapping[str, Any]
    classes: int | Sequence[str] | None = None
    name: str = "datasets"
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    normalised: bool | tuple[Sequence[float], Sequence[float]] | None = None
    fields: Fields | None = None
    modalities: Mapping[str, str] | None = None
    sources: dict[str, LoaderSettings] = field(init=False)

    def __post_init__(self) -> None:
        if "train" not in self.splits:
            raise DataError(f"there is no train split, only {', '.join(self.splits) or 'nothing'}: provide one.")
        if self.fields is not None:
            refuse_fields(self.fields)
        refuse_modalities(self.modalities)
        self.sources = {split: loader_settings(split, source) for split, source in self.splits.items()}

    @property
    def loader_keys(self) -> dict[str, int]:
        """The configuration keys of a run that train's DataLoader sets."""
        train = self.sources["train"]
        return {k: v for k, v in {"batch_size": train.batch_size, "workers": train.workers}.items() if v}

    def data(
        self, *, task: str | None = None, size: tuple[int, int] | None = None, is_sealed: bool = False, **options: Any
    ) -> DataModule:
        """Return the DataModule for a run's task, size and options; is_sealed: without reading test."""
        names: tuple[str, ...] = ()
        selected = None
        task = task or self._task()
        if task not in ("regression", UNLABELLED):
            names, selected = class_names(self.sources["train"].dataset, self._classes_of(task), self.fields)
        source_data = self.to_source_data(names, task, size, is_sealed)
        return prepare_data(self.name, source_data, classes=selected, loader_keys=self.loader_keys, **options)

    def _task(self) -> str:
        """Return the task that the first item of train tells, if there are no classes."""
        has_classes = self.classes is not None or dataset_class_names(self.sources["train"].dataset, self.fields)
        if is_image_alone(self._first_item) and not self.modalities:
            return "classification" if has_classes else UNLABELLED
        if are_objects(self._target()[1]):
            return "detection"
        if has_classes:
            return "classification"
        target = as_tensor(self._target()[1])
        return "regression" if target is not None and target.is_floating_point() else "classification"

    def _classes_of(self, task: str) -> int | Sequence[str] | None:
        """Return the names of the classes, or their number; of label sets without names it is the targets' length."""
        if task != "multi_label" or self.classes is not None or dataset_class_names(self.sources["train"].dataset):
            return self.classes
        target = as_tensor(self._target()[1])
        return None if target is None or target.dim() != 1 else len(target)

    @property
    def _pair(self) -> tuple[Field, Field] | None:
        """The fields of image and target, if two were named."""
        return (
            None if self.fields is None or not isinstance(self.fields[0], Field) else (self.fields[0], self.fields[1])
        )

    @property
    def _first_row(self) -> int:
        rows = self.sources["train"].rows
        return 0 if rows is None else int(rows[0])

    @cached_property
    def _first_item(self) -> Any:
        reader = ItemReader(TargetReader(UNLABELLED))
        return MapStyleSplit(self.sources["train"], reader, "train").raw_item(0, ViewSeed())

    def _target(self) -> tuple[str, Any]:
        """Return the name of the first item's target and its value."""
        item = self._first_item
        with naming_sample("train", self._first_row):
            if has_named_inputs(item, self.fields, self.modalities or {}):
                return target_of(item, self.fields)
            return "y", image_and_target(item, self._pair)[1]

    def to_source_data(
        self, classes: tuple[str, ...], task: str, size: tuple[int, int] | None = None, is_sealed: bool = False
    ) -> SourceData:
        """Read the first samples of each Dataset, of a sealed test none, and return its splits, scale and size."""
        if task not in TARGET_KINDS:
            raise ConfigError(unknown("task of Datasets", task, TARGET_KINDS))
        item = self._first_item
        name, target = self._target() if task == "regression" else ("y", None)
        count = int(torch.as_tensor(target).numel()) if as_tensor(target) is not None else 0
        targets = TargetReader(task, classes, count)
        several = has_named_inputs(item, self.fields, self.modalities or {})
        items = self._field_reader(item, targets) if several else ItemReader(targets, self._pair)
        splits = {split: MapStyleSplit(source, items, split) for split, source in self.sources.items()}
        first, _ = splits["train"].item(0, ViewSeed())
        for split, samples in splits.items():
            samples.like = first
            if split != "test" or not is_sealed:
                samples.probe()
        names = (name,) if count == 1 else tuple(f"{name}{number}" for number in range(count))
        readable = {**splits, "test": SealedSplit()} if is_sealed and "test" in splits else splits
        data = SourceData(task, classes, (), "none", readable, target=TARGET_KINDS[task], value_names=names)
        if isinstance(items, FieldReader):
            return self._with_fields(data, items, splits, size)
        pixels = are_pixels(image_of(item, self._pair))
        scale = Scale.from_first_image(first, pixels, self.mean, self.std, self.normalised)
        return replace(data, size=size or (first.shape[1], first.shape[2]), scale=scale)

    def _field_reader(self, item: Any, targets: TargetReader) -> FieldReader:
        """Return the reader of items with several inputs, from the first.

        Raises: ConfigError for options of a single image, or without targets.
        """
        options = {"mean": self.mean, "std": self.std, "normalised": self.normalised}
        if used := [option for option, value in options.items() if value is not None]:
            raise ConfigError(
                f"{', '.join(used)}: for images alone; inputs by name are normalised by the mean and deviation of each."
            )
        if targets.task == UNLABELLED:
            raise ConfigError("task=backbone: for images alone; items with inputs by name need a target.")
        with naming_sample("train", self._first_row):
            return FieldReader.from_first(item, targets, self.fields, self.modalities or {})

    def _with_fields(
        self, data: SourceData, items: FieldReader, splits: Mapping[str, MapStyleSplit], size: tuple[int, int] | None
    ) -> SourceData:
        """Return the data with a form for each input; floats beyond [0, 1] are no pixels."""
        largest = splits["train"].largest()
        forms = {}
        for name, x in items.first.items():
            pixels = items.kinds[name] != "image" or not x.is_floating_point() or largest[name] <= 1 + SLACK
            forms[name] = FieldForm(items.kinds[name], tuple(x.shape[1:]), PIXELS if pixels else SourceScale("unknown"))
        first = next(iter(forms.values()))
        if size is not None and first.modality != "image":
            raise ConfigError(
                f"size={size}: only images are resized, and {next(iter(forms))} is {first.modality} data."
            )
        scale = Scale(first.source_scale)
        return replace(data, modality=first.modality, size=size or first.size, scale=scale, fields=forms)


def refuse_modalities(kinds: Any) -> None:
    """Reject a value that doesn't name the modalities of fields.

    Raises: ConfigError.
    """
    if kinds is None:
        return
    if not isinstance(kinds, Mapping) or not all(isinstance(name, str) for pair in kinds.items() for name in pair):
        raise ConfigError(f"modalities={kinds!r}: expected a modality by field, as in {{'wave': 'series'}}.")
    for kind in kinds.values():
        modalities.find(kind)
