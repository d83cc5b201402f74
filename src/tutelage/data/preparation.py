"""From a source's data to a DataModule: missing splits, subsets, mean and standard deviation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from tutelage.data import modalities
from tutelage.data.alter import with_crop
from tutelage.data.batch_sampler import sample_per_class, stratified_permutation
from tutelage.data.class_split import split_by_class
from tutelage.data.data_module import DataModule
from tutelage.data.grouping import refuse_shared_groups, split_groups
from tutelage.data.input_fields import FieldForm, InputField
from tutelage.data.map_targets import MapForm, measure_maps, unit_scale
from tutelage.data.modalities.base import Modality
from tutelage.data.scale import Scale
from tutelage.data.splits import ClassSubset, InMemorySplit, Split, ViewSeed
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ConfigError, DataError, plain, unknown
from tutelage.utils.key_types import parse_size

VAL = 0.1
"""The default fraction of train that becomes the validation split if there is none."""

TEST = 0.2
"""The fraction of train that becomes the test split if there is none; the same samples for any seed."""


@dataclass(frozen=True)
class EncodedSplits:
    """Splits whose inputs were encoded by statistics of train.

    input_names: the names of the inputs' channels. encoding: its description, as JSON. notes: messages for the user.
    """

    train: Split
    val: Split
    test: Split
    input_names: tuple[str, ...]
    encoding: str
    notes: tuple[str, ...] = ()


@dataclass
class SourceData:
    """A source's data: its splits ("train" at least), settings that suit the data, and notes for the user.

    modality, target, map_form: as in DataModule. value_names: the names of the values, for a regression, or of a map's
    channels. values: their scale, if it isn't to be measured. input_names: of the
    inputs' channels, such as a table's columns. fields: of samples with several inputs, the form of each;
    the first is what `modality` and `size` describe. encode: makes the inputs of train, val and test, if that needs
    statistics of train.
    """

    task: str
    classes: tuple[str, ...]
    size: tuple[int, ...]
    augment: str
    splits: Mapping[str, Split]
    scale: Scale = field(default_factory=Scale)
    columns: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    modality: str = "image"
    target: str = "label"
    value_names: Sequence[str] = ()
    values: ValueTargets | None = None
    map_form: MapForm | None = None
    input_names: Sequence[str] = ()
    fields: Mapping[str, FieldForm] = field(default_factory=dict)
    encode: Callable[[Split, Split, Split], EncodedSplits] | None = None


def multi_task_data(
    class_names: Mapping[str, Sequence[str]], size: tuple[int, ...], augment: str, splits: Mapping[str, Split]
) -> SourceData:
    """Return the data of samples with several labels; class_names: each label column's class names, in order."""
    classes = tuple(f"{column}={name}" for column, names in class_names.items() for name in names)
    columns = {column: len(names) for column, names in class_names.items()}
    return SourceData("multi_task", classes, size, augment, splits, columns=columns, target="labels")


def restored(source: SourceData, channels: int) -> SourceData:
    """Return the data of images of that many channels, whose targets are images: both are pixels in [0, 1]."""
    unchanged = Scale(mean=(0.0,) * channels, std=(1.0,) * channels)
    return replace(source, scale=unchanged, values=unit_scale(source.value_names))


def read_class_lists(path: Path) -> list[list[str]]:
    """Read the lists of class names in a JSON file: one, or several by name (fine, coarse).

    Raises: DataError if it holds something else.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{plain(path)}: can't be read ({error}): expected a JSON list of class names.") from error
    lists = list(content.values()) if isinstance(content, dict) else [content]
    for names in lists or [None]:
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len({*names}) < len(names):
            raise DataError(f"{plain(path)}: expected a JSON list of class names, each once.")
    return lists


def fill_missing_splits(name: str, source: SourceData, val: float, seed: int) -> tuple[Split, Split, Split]:
    """Return train, val and test.

    A missing test is cut from train (a fifth, the same for any seed), then a missing val.
    """
    train, validation, test = (source.splits.get(split) for split in ("train", "val", "test"))
    assert train is not None
    if test is None:
        train, test = split_off(name, "test", train, TEST, 0)
    if validation is None:
        train, validation = split_off(name, "val", train, val, seed)
    refuse_shared_groups(name, _readable(train, validation, test))
    return train, validation, test


def _readable(train: Split, validation: Split, test: Split) -> dict[str, Split]:
    """Return the splits by name, without a sealed test."""
    splits = {"train": train, "val": validation, "test": test}
    return {split: samples for split, samples in splits.items() if not samples.is_sealed}


def split_off(name: str, split: str, samples: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Split the samples into the rest and a fraction, with the classes in the same proportions, or by whole groups.

    Raises: DataError if there are too few samples.
    """
    count = max(1, round(fraction * len(samples)))
    if count >= len(samples):
        raise DataError(
            f"data {name!r}: {len(samples)} sample(s) can't be split into train and {split}: provide more samples."
        )
    if samples.groups is not None:
        rest, rows = split_groups(name, split, samples.groups, count, seed)
        return samples.take(rest), samples.take(rows).for_evaluation()
    order = stratified_order(samples, seed)
    return samples.take(order[count:].sort().values), samples.take(order[:count].sort().values).for_evaluation()


def stratified_order(samples: Split, seed: int) -> Tensor:
    """Return a random order; if the classes are known, every prefix is stratified by class."""
    strata = samples.strata
    return stratified_permutation(torch.zeros(len(samples), dtype=torch.int64) if strata is None else strata, seed)


def subsample(name: str, train: Split, limit: int | None, labels_per_class: int | None, seed: int) -> Split:
    """Keep at most `labels_per_class` samples of each class, then at most `limit` in total.

    Raises: ConfigError for numbers below 1, or if labels_per_class needs classes that aren't known.
    """
    for option, value in (("limit", limit), ("labels_per_class", labels_per_class)):
        if value is not None and value < 1:
            raise ConfigError(f"{option}={value}: expected 1 or more.")
    if labels_per_class is not None:
        if train.labels is None:
            raise ConfigError(
                f"labels_per_class={labels_per_class}: requires a single class per sample that is known without "
                "reading "
                f"the sample, which {name!r} doesn't have; give a Dataset the attribute `targets`."
            )
        train = train.take(sample_per_class(train.labels, labels_per_class, seed))
    if limit is not None and limit < len(train) and train.whole_groups and train.groups is not None:
        train = train.take(split_groups(name, "train", train.groups, limit, seed)[1])
    elif limit is not None and limit < len(train):
        train = train.take(stratified_order(train, seed)[:limit].sort().values)
    return train


def select_classes(data: DataModule, names: Sequence[str]) -> DataModule:
    """Keep only the samples of these classes, numbered in this order.

    Raises: ConfigError if a name isn't a class of the data or is repeated, if there is only one name, or if samples
    have no single class.
    """
    if not data.classes:
        raise ConfigError(f"classes={list(names)}: {data.name!r} has no single class per sample: remove classes.")
    faults = [unknown(f"class of {data.name}", name, data.classes) for name in names if name not in data.classes]
    if faults:
        raise ConfigError("\n".join(faults))
    if len(set(names)) < max(len(names), 2):
        raise ConfigError(f"classes={list(names)}: expected two or more of {data.name}, each once.")
    if any(getattr(data, split).labels is None for split in data.splits):
        raise ConfigError(
            f"classes={list(names)}: requires a single class per sample that is known without reading the sample, "
            f"which {data.name!r} doesn't have; give a Dataset the attribute `targets`."
        )
    numbers = torch.tensor([names.index(name) if name in names else -1 for name in data.classes])
    return replace(data.map_splits(lambda samples: ClassSubset(samples, numbers)), classes=tuple(names))


def channel_mean_std(
    samples: Split, limit: int = 500, kind: Modality | None = None, field_name: str | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation per channel, of bytes as fractions of 255; of a constant channel, 1.

    kind: the inputs' modality (None: images). field_name: the field, of samples with several.

    limit: number of evenly spaced samples that are used if they are read from files.
    """
    count = len(samples) if isinstance(samples, InMemorySplit) else min(limit, len(samples))
    order = torch.linspace(0, len(samples) - 1, count, dtype=torch.float64).long()
    pixels, total, squares, top = 0, torch.zeros(()), torch.zeros(()), 1.0
    for inputs, _ in samples.read([order[i : i + 50] for i in range(0, count, 50)], ViewSeed()):
        images = inputs if field_name is None else inputs[field_name]
        top = 1.0 if images.is_floating_point() else 255.0
        x = images.double().movedim(1, 0).flatten(1)
        pixels, total, squares = pixels + x.shape[1], total + x.sum(1), squares + x.square().sum(1)
    mean = total / pixels
    std = (squares / pixels - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > (kind or modalities.find("image")).variation_floor(mean, top), std, top)
    return tuple((mean / top).tolist()), tuple((std / top).tolist())


def height_and_width(size: int | str | Sequence[int] | None) -> tuple[int, int] | None:
    """Return height and width.

    Raises: ConfigError if `size` isn't a size.
    """
    if size is None:
        return None
    try:
        return parse_size(size)
    except ValueError as error:
        raise ConfigError(f"size={size}: {error}.") from error


def prepare_data(
    name: str,
    source: SourceData | DataModule,
    *,
    size: tuple[int, int] | None = None,
    val: float = VAL,
    seed: int = 0,
    limit: int | None = None,
    labels_per_class: int | None = None,
    augment: str | None = None,
    classes: Sequence[str] | None = None,
    split: str | Sequence[str] = "samples",
    fingerprint: str = "names",
    loader_keys: Mapping[str, int] | None = None,
) -> DataModule:
    """Return the DataModule of a source's data, or of a DataModule, with a run's options.

    Mean and standard deviation are those of train before it is split by class or limited.
    Raises: ConfigError for options out of range or that don't fit; DataError if the data has too few classes or
    samples.
    """
    if not 0 < val <= 0.5:
        raise ConfigError(f"val={val}: expected a fraction of train above 0, at most 0.5.")
    if val != VAL and (isinstance(source, DataModule) or "val" in source.splits):
        raise ConfigError(f"val={val}: {name!r} already has a validation split; remove val.")
    data = source if isinstance(source, DataModule) else _with_all_splits(name, source, val, seed)
    content = fingerprint == "content"
    data = replace(
        data.map_splits(lambda samples: samples.fingerprinted_by(content)),
        name=name,
        size=size or data.size,
        augment=with_crop(augment, data.augment),
        loader_keys=data.loader_keys if loader_keys is None else loader_keys,
    )
    selected = data if classes is None else select_classes(data, classes)
    if split != "samples":
        selected = split_by_class(selected, None if split == "classes" else split, val, seed)
    return replace(selected, train=subsample(name, selected.train, limit, labels_per_class, seed))


def _with_all_splits(name: str, source: SourceData, val: float, seed: int) -> DataModule:
    if len(source.classes) < 2 and source.target not in ("values", "grades", "label set", "objects", "map", "none"):
        raise DataError(f"data {name!r} has the classes {list(source.classes)}: expected two or more.")
    encoded = _encoded(source, *fill_missing_splits(name, source, val, seed))
    train, validation, test = encoded.train, encoded.val, encoded.test
    _refuse_unlabelled_columns(name, source.columns, _readable(train, validation, test))
    scale = source.scale
    kind = modalities.find(source.modality)
    fields = {field: _measured_field(train, field, form) for field, form in source.fields.items()}
    first = next(iter(fields.values()), None)
    if scale.mean and scale.std:
        mean, std = scale.mean, scale.std
    else:
        mean, std = channel_mean_std(train, kind=kind) if first is None else (first.mean, first.std)
    return DataModule(
        name=name,
        task=source.task,
        classes=source.classes,
        channels=len(mean),
        size=source.size,
        mean=mean,
        std=std,
        train=train,
        val=validation,
        test=test,
        augment=source.augment,
        columns=source.columns,
        notes=(*source.notes, *encoded.notes),
        source_scale=scale.source_scale,
        modality=source.modality,
        target=source.target,
        values=_value_targets(name, source, train),
        map_form=source.map_form,
        input_names=encoded.input_names,
        encoding=encoded.encoding,
        fields=fields,
    )


def _value_targets(name: str, source: SourceData, train: Split) -> ValueTargets | None:
    """Return the names and scale of the values or maps; None for other targets."""
    if source.values is not None:
        return source.values
    if source.target == "map":
        return measure_maps(name, source.value_names, train)
    if source.target != "values" or train.values is None:
        return None
    return ValueTargets.measure(name, source.value_names, train.values)


def _refuse_unlabelled_columns(name: str, columns: Iterable[str], splits: Mapping[str, Split]) -> None:
    for number, column in enumerate(columns):
        for split, samples in splits.items():
            if not len(samples.column(number)):
                raise DataError(
                    f"data {name!r}: no sample of {split} has a label in the column {column!r}: provide some."
                )


def _encoded(source: SourceData, train: Split, val: Split, test: Split) -> EncodedSplits:
    """Return the splits with the inputs that models get: encoded by statistics of train, if the source does so."""
    if source.encode is None:
        return EncodedSplits(train, val, test, tuple(source.input_names), "")
    return source.encode(train, val, test)


def _measured_field(train: Split, name: str, form: FieldForm) -> InputField:
    mean, std = channel_mean_std(train, kind=modalities.find(form.modality), field_name=name)
    return InputField(form.modality, len(mean), form.size, mean, std, source_scale=form.source_scale)
