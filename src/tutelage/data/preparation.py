"""From what a source found to Data: the missing splits, the subsets, the mean and deviation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from tutelage.data.alter import with_crop
from tutelage.data.batch_sampler import few_per_class, stratified
from tutelage.data.data_module import DataModule
from tutelage.data.scale import Scale
from tutelage.data.splits import ClassSubset, InMemorySplit, Split, ViewSeed
from tutelage.errors import ConfigError, DataError, plain, unknown
from tutelage.utils.key_types import sides

VAL = 0.1
"""The part of train that becomes the validation split where there is none and nothing else is said."""

TEST = 0.2
"""The part of train that becomes the test split where there is none; the same part whatever the seed."""


@dataclass
class SourceData:
    """What a source found: the splits it has ("train" at least), and what suits the data; what is to be said of it."""

    task: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    augment: str
    splits: Mapping[str, Split]
    scale: Scale = field(default_factory=Scale)
    columns: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


def of_columns(
    named: Mapping[str, Sequence[str]], size: tuple[int, int], augment: str, splits: Mapping[str, Split]
) -> SourceData:
    """What a source found of several labels for each sample: `named` has each column's class names, in order."""
    classes = tuple(f"{column}={name}" for column, names in named.items() for name in names)
    columns = {column: len(names) for column, names in named.items()}
    return SourceData("multi_task", classes, size, augment, splits, columns=columns)


def class_lists(path: Path) -> list[list[str]]:
    """The lists of class names in a JSON file: one, or several by name (fine, coarse)."""
    try:
        listed = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{plain(path)}: can't be read ({error}): expected a JSON list of class names.") from error
    lists = list(listed.values()) if isinstance(listed, dict) else [listed]
    for names in lists or [None]:
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len({*names}) < len(names):
            raise DataError(f"{plain(path)}: expected a JSON list of class names, each once.")
    return lists


def fill_missing_splits(name: str, found: SourceData, val: float, seed: int) -> tuple[Split, Split, Split]:
    """Train, val and test; a missing test is cut from train (a fifth, the same for any seed), then a missing val."""
    train, validation, test = (found.splits.get(split) for split in ("train", "val", "test"))
    assert train is not None
    if test is None:
        train, test = split_off(name, "test", train, TEST, 0)
    if validation is None:
        train, validation = split_off(name, "val", train, val, seed)
    return train, validation, test


def split_off(name: str, split: str, samples: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """What stays, and a part that has the classes in the same proportions."""
    count = max(1, round(fraction * len(samples)))
    if count >= len(samples):
        raise DataError(f"data {name!r}: {len(samples)} sample(s) can't be parted into train and {split}: give more.")
    chosen = stratified_order(samples, seed)
    return samples.take(chosen[count:].sort().values), samples.take(chosen[:count].sort().values)


def stratified_order(samples: Split, seed: int) -> Tensor:
    """A random order of which each beginning is a fair part: stratified if the classes are known."""
    strata = samples.strata
    return stratified(torch.zeros(len(samples), dtype=torch.int64) if strata is None else strata, seed)


def subsample(name: str, train: Split, limit: int | None, labels_per_class: int | None, seed: int) -> Split:
    """At most so many samples for each class, then at most `limit` in all."""
    for option, value in (("limit", limit), ("labels_per_class", labels_per_class)):
        if value is not None and value < 1:
            raise ConfigError(f"{option}={value}: expected 1 or more.")
    if labels_per_class is not None:
        if train.labels is None:
            raise ConfigError(
                f"labels_per_class={labels_per_class}: the samples of {name!r} have no single class each that is known "
                "without reading them; a Dataset says it by `targets`."
            )
        train = train.take(few_per_class(train.labels, labels_per_class, seed))
    if limit is not None and limit < len(train):
        train = train.take(stratified_order(train, seed)[:limit].sort().values)
    return train


def select_classes(data: DataModule, names: Sequence[str]) -> DataModule:
    """Only the samples of these classes, which are then all that there are, numbered in this order.

    Raises: ConfigError if a name isn't a class of the data, comes twice, or stands alone, or if samples have no single
    class each.
    """
    faults = [unknown(f"class of {data.name}", name, data.classes) for name in names if name not in data.classes]
    if faults:
        raise ConfigError("\n".join(faults))
    if len(set(names)) < max(len(names), 2):
        raise ConfigError(f"classes={list(names)}: expected two or more of {data.name}, each once.")
    if any(samples.labels is None for samples in (data.train, data.val, data.test)):
        raise ConfigError(
            f"classes={list(names)}: the samples of {data.name!r} have no single class each that is known without "
            "reading them; a Dataset says it by `targets`."
        )
    numbers = torch.tensor([names.index(name) if name in names else -1 for name in data.classes])
    train, validation, test = (ClassSubset(samples, numbers) for samples in (data.train, data.val, data.test))
    return replace(data, classes=tuple(names), train=train, val=validation, test=test)


def channel_mean_std(samples: Split, most: int = 500) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel of images in [0, 1]; over `most` evenly spaced ones if read from files."""
    count = len(samples) if isinstance(samples, InMemorySplit) else min(most, len(samples))
    chosen = torch.linspace(0, len(samples) - 1, count, dtype=torch.float64).long()
    pixels, total, squares, top = 0, torch.zeros(()), torch.zeros(()), 1.0
    for images, _ in samples.read([chosen[i : i + 50] for i in range(0, count, 50)], ViewSeed()):
        top = 1.0 if images.is_floating_point() else 255.0
        x = images.double().movedim(1, 0).flatten(1)
        pixels, total, squares = pixels + x.shape[1], total + x.sum(1), squares + x.square().sum(1)
    mean = total / pixels
    std = (squares / pixels - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6 * top, std, top)
    return tuple((mean / top).tolist()), tuple((std / top).tolist())


def pair(size: int | str | Sequence[int] | None) -> tuple[int, int] | None:
    """Height and width."""
    if size is None:
        return None
    try:
        return sides(size)
    except ValueError as error:
        raise ConfigError(f"size={size}: {error}.") from error


def made(
    name: str,
    found: SourceData | DataModule,
    *,
    size: tuple[int, int] | None = None,
    val: float = VAL,
    seed: int = 0,
    limit: int | None = None,
    labels_per_class: int | None = None,
    augment: str | None = None,
    classes: Sequence[str] | None = None,
    fingerprint: str = "names",
    loading: Mapping[str, int] | None = None,
) -> DataModule:
    """The Data of what was found, or of what is Data already, as it is asked for.

    Mean and deviation are those of train before it is limited.
    """
    if not 0 < val <= 0.5:
        raise ConfigError(f"val={val}: expected a fraction of train above 0, at most 0.5.")
    if val != VAL and (isinstance(found, DataModule) or "val" in found.splits):
        raise ConfigError(f"val={val}: {name!r} has a validation split already, leave it out.")
    whole = found if isinstance(found, DataModule) else _completed(name, found, val, seed)
    whole = replace(
        whole,
        name=name,
        size=size or whole.size,
        augment=with_crop(augment, whole.augment),
        loading=whole.loading if loading is None else loading,
    )
    for samples in (whole.train, whole.val, whole.test):
        samples.content = fingerprint == "content"
    part = whole if classes is None else select_classes(whole, classes)
    return replace(part, train=subsample(name, part.train, limit, labels_per_class, seed))


def _completed(name: str, found: SourceData, val: float, seed: int) -> DataModule:
    if len(found.classes) < 2:
        raise DataError(f"data {name!r} has the classes {list(found.classes)}: expected two or more.")
    train, validation, test = fill_missing_splits(name, found, val, seed)
    for number, column in enumerate(found.columns):
        for split, samples in {"train": train, "val": validation, "test": test}.items():
            if not len(samples.column(number)):
                raise DataError(f"data {name!r}: no sample of {split} has a label in the column {column!r}: give some.")
    scale = found.scale
    mean, std = (scale.mean, scale.std) if scale.mean and scale.std else channel_mean_std(train)
    return DataModule(
        name=name,
        task=found.task,
        classes=found.classes,
        channels=len(mean),
        size=found.size,
        mean=mean,
        std=std,
        train=train,
        val=validation,
        test=test,
        augment=found.augment,
        columns=found.columns,
        notes=tuple(found.notes),
        came=scale.came,
    )
