"""The user's own map-style Datasets as a DataModule."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.data.augment import seeded_generators
from tutelage.data.data_module import DataModule
from tutelage.data.items import (
    UNLABELLED,
    Field,
    ItemReader,
    are_pixels,
    describe_value,
    image_of,
    is_image_alone,
    refuse_fields,
)
from tutelage.data.loaders import LoaderSettings, loader_settings
from tutelage.data.own_classes import class_names, target_labels
from tutelage.data.preparation import VAL, SourceData, prepare_data
from tutelage.data.scale import Scale
from tutelage.data.splits import IGNORE, LazySplit, Sample, ViewSeed
from tutelage.errors import ConfigError, DataError, unknown

TASKS = ("classification", "segmentation", UNLABELLED)
PROBED = 64
"""Number of evenly spaced samples that are read and checked before training."""


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
    fields: tuple[Field, Field] | None = None,
    augment: str = "none",
    val_fraction: float = VAL,
    seed: int = 0,
) -> DataModule:
    """Make a DataModule from map-style Datasets, or from DataLoaders of map-style Datasets.

    What Datasets draw from the global generators of torch, numpy and random is a function of (seed, sample, epoch).
    Missing splits are cut from train, and then pass through train's own transforms.

    Args:
        train: a map-style Dataset, or a DataLoader of one, that yields (x, y). x: a tensor (C, H, W), uint8 or float,
            an array (H, W) or (H, W, C), or a PIL image, all of one size. y: the class, by number or name, or for task
            "segmentation" a mask (H, W), 255 = ignore. A DataLoader's batch size, workers, subset and sampling weights
            are used for training; settings that can't be honoured are rejected.
        val, test: likewise; None: cut from train.
        classes: the class names, or their number; None: those of the Dataset. If the Dataset has class names, a subset
            of them selects these classes.
        name: the name in results and messages.
        task: "classification", "segmentation", or "backbone" for images without labels (a Dataset that yields x alone).
        mean, std: per channel, of images in [0, 1], for normalisation; if absent they are measured on bytes, and floats
            are left unchanged.
        normalised: whether floats are already normalised (False: they are pixels in [0, 1]), or the (mean, std) that
            normalised them. Required by networks that state their normalisation: these get floats converted, or
            unchanged if True.
        fields: which two fields of an item are image and target, by name or number, if it is neither a pair nor a dict
            of an image and a label.
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
    datasets = DatasetSource(present, classes, name, mean, std, normalised, fields)
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
    fields: tuple[Field, Field] | None = None
    sources: dict[str, LoaderSettings] = field(init=False)

    def __post_init__(self) -> None:
        if "train" not in self.splits:
            raise DataError(f"there is no train split, only {', '.join(self.splits) or 'nothing'}: provide one.")
        if self.fields is not None:
            refuse_fields(self.fields)
        self.sources = {split: loader_settings(split, source) for split, source in self.splits.items()}

    @property
    def loader_keys(self) -> dict[str, int]:
        """The configuration keys of a run that train's DataLoader sets."""
        train = self.sources["train"]
        return {k: v for k, v in {"batch_size": train.batch_size, "workers": train.workers}.items() if v}

    def data(self, *, task: str | None = None, size: tuple[int, int] | None = None, **options: Any) -> DataModule:
        """Return the DataModule for a run's task, size and options."""
        names: tuple[str, ...] = ()
        selected = None
        task = task or (UNLABELLED if self._is_unlabelled() else "classification")
        if task != UNLABELLED:
            names, selected = class_names(self.sources["train"].dataset, self.classes, self.fields)
        source_data = self.to_source_data(names, task, size)
        return prepare_data(self.name, source_data, classes=selected, loader_keys=self.loader_keys, **options)

    def _is_unlabelled(self) -> bool:
        """Return True if the first item of train is an image alone."""
        train = self.sources["train"]
        first = MapStyleSplit(train, ItemReader(UNLABELLED, (), self.fields), "train").raw_item(0, ViewSeed())
        return self.classes is None and is_image_alone(first)

    def to_source_data(self, classes: tuple[str, ...], task: str, size: tuple[int, int] | None = None) -> SourceData:
        """Read the first samples of each Dataset and return its splits, scale and size."""
        if task not in TASKS:
            raise ConfigError(unknown("task of Datasets", task, TASKS))
        items = ItemReader(task, classes, self.fields)
        splits = {split: MapStyleSplit(source, items, split) for split, source in self.sources.items()}
        first, _ = splits["train"].item(0, ViewSeed())
        for samples in splits.values():
            samples.like = first
            samples.probe()
        pixels = are_pixels(image_of(splits["train"].raw_item(0, ViewSeed()), self.fields))
        scale = Scale.from_first_image(first, pixels, self.mean, self.std, self.normalised)
        size = size or (first.shape[1], first.shape[2])
        target = {"segmentation": "mask", UNLABELLED: "none"}.get(task, "label")
        return SourceData(task, classes, size, "none", splits, scale=scale, target=target)


class MapStyleSplit(LazySplit):
    """The samples of a map-style Dataset.

    rows: the Dataset's numbers of the samples (None: all that its loader selects). like: an image whose channels and
    dtype kind all images must have.
    """

    is_random = True

    def __init__(self, source: LoaderSettings, items: ItemReader, split: str, rows: Tensor | None = None) -> None:
        self.source, self.items, self.split = source, items, split
        selected = torch.arange(len(source.dataset)) if source.rows is None else source.rows
        self.rows = selected if rows is None else rows
        self.labels: Tensor | None = None
        self.like: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def weights(self) -> Tensor | None:
        """Each sample's sampling weight, if a sampler provides weights."""
        return None if self.source.weights is None else self.source.weights[self.rows]

    def take(self, rows: Tensor) -> Self:
        """Select rows of the same Dataset."""
        selected = type(self)(self.source, self.items, self.split, self.rows[rows])
        selected.labels, selected.like = None if self.labels is None else self.labels[rows], self.like
        selected.content = self.content
        return selected

    def item(self, number: int, augmentation: ViewSeed) -> Sample:
        """Return the Dataset's item as checked tensors."""
        raw, row = self.raw_item(number, augmentation), int(self.rows[number])
        try:
            x, y = self.items.sample(raw)
            self._compare(x)
            if self.labels is not None and y is not None and y != self.labels[number]:
                raise DataError(
                    f"is of class {int(y)}, but of class {int(self.labels[number])} in the Dataset's targets: correct "
                    "them, or remove `targets`."
                )
        except DataError as error:
            raise DataError(f"{self.split}: sample {row} {error}") from error
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
        """Read some samples to find faults before training; set `labels` if the Dataset's `targets` agree with them."""
        probed, masks = self._evenly_spaced(), self.items.task == "segmentation"
        if self.items.task == UNLABELLED:
            for number in probed:
                self.item(number, ViewSeed())
            return
        with seeded_generators(0, 0, 0):  # a target_transform may draw
            candidates = [] if masks else target_labels(self.source.dataset, self.items.classes)
        samples = [self.item(n, ViewSeed()) for n in (probed if candidates or masks else probed[:1])]
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
            for value in self.item(number, ViewSeed()):
                if value is not None:
                    digest.update(value.contiguous().numpy().data)
        if self.weights is not None:
            digest.update(self.weights.numpy().data)
        return digest.hexdigest()

    def _evenly_spaced(self) -> list[int]:
        return torch.linspace(0, len(self) - 1, min(PROBED, len(self)), dtype=torch.float64).long().tolist()

    def _compare(self, x: Tensor) -> None:
        like = self.like
        if like is not None and (len(x), x.is_floating_point()) != (len(like), like.is_floating_point()):
            raise DataError(
                f"is {describe_value(x)}, the first of train is {describe_value(like)}: expected the same channels, "
                "and uint8 or float "
                "alike."
            )

    def _refuse_out_of_range(self, labels: Tensor) -> None:
        classes = len(self.items.classes)
        if labels.min() < 0 or labels.max() >= classes:
            raise DataError(
                f"{self.split}: the Dataset's targets range from {int(labels.min())} to {int(labels.max())}: expected "
                f"{classes} classes (0 to {classes - 1})."
            )
