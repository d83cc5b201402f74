"""The arguments of a call in Python: objects, separated from the keys of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from tutelage.config.keys import Keys
from tutelage.data.data_module import DataModule
from tutelage.data.field_items import Fields
from tutelage.data.from_datasets import DatasetSource
from tutelage.data.item_values import describe_value
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss, LossSum
from tutelage.models.estimators.other import wrap
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.runs.inputs import Provided
from tutelage.training.callbacks import Callback
from tutelage.utils.stream_names import LABELLED

Numbers = Sequence[float]


class RunKeys(Keys, total=False):
    """The keys of a run, and in addition the options of Datasets (tutelage.data.from_datasets)."""

    mean: Numbers | None
    std: Numbers | None
    normalised: bool | tuple[Numbers, Numbers] | None
    fields: Fields | None
    modalities: Mapping[str, str] | None


def separate_objects(
    student: Any, teacher: Any, data: Any, method: Any, callbacks: Sequence[Callback], keys: dict[str, Any]
) -> tuple[Provided, dict[str, Any]]:
    """Return the objects among the arguments, and keys for the rest; options of the data are removed from `keys`."""
    if not isinstance(teacher, nn.Module) and hasattr(teacher, "predict"):
        teacher = wrap(teacher)
    optional = {"student": student, "teacher": teacher, "method": method}
    refuse_wrong_types(data=data, callbacks=callbacks, **{name: x for name, x in optional.items() if x is not None})
    method = list(method) if isinstance(method, tuple) else method
    provided, data_keys = separate_data(data, keys)
    objects: dict[str, Any] = {"callbacks": tuple(callbacks)}
    overrides: dict[str, Any] = {"method": method, **data_keys}
    for role, value in (("student", student), ("teacher", teacher)):
        if isinstance(value, nn.Module):
            objects[role] = value
            overrides[role] = f"object:{type(value).__name__}"
        elif value is not None:
            overrides[role] = _names(value)
    if isinstance(method, Loss | LossSum | Term | Terms) or (
        isinstance(method, list) and any(_is_part(m) for m in method)
    ):
        objects["method"] = list(method.values()) if isinstance(method, Terms) else method
        overrides["method"] = None  # it may be a loss that no name finds
    return replace(provided, **objects), overrides


def _names(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_names(item) for item in value]
    return value if isinstance(value, Mapping) else str(value)


def separate_data(data: Any, keys: dict[str, Any]) -> tuple[Provided, dict[str, Any]]:
    """Return data that was passed as an object, and the keys that its name and its loaders set."""
    if isinstance(data, str):
        return Provided(), {"data": data}
    if isinstance(data, Mapping) and LABELLED in data:
        return _separate_streams(data, keys)
    if not isinstance(data, DataModule):
        options = {k: keys.pop(k) for k in DATASET_OPTIONS if k in keys}
        data = DatasetSource(_splits(data), **options)
    return Provided(data=data), {"data": data.name, **data.loader_keys}


def _separate_streams(data: Mapping[str, Any], keys: dict[str, Any]) -> tuple[Provided, dict[str, Any]]:
    """Return the objects among the sources of streams, and the names of all."""
    provided, streams, names = Provided(), {}, {}
    for stream, spec in data.items():
        spec = dict(spec) if isinstance(spec, Mapping) and "source" in spec else {"source": spec}
        if stream == LABELLED and not isinstance(spec["source"], str):
            provided, data_keys = separate_data(spec["source"], keys)
            spec["source"] = data_keys.pop("data")
            keys |= data_keys
        elif not isinstance(spec["source"], str):
            streams[stream] = _stream_data(stream, spec["source"])
            spec["source"] = f"object:{streams[stream].name}"
        names[stream] = spec
    return replace(provided, streams=streams), {"data": names}


def _stream_data(stream: str, source: Any) -> DataModule | DatasetSource:
    """Return the data of a stream that was passed as an object; one Dataset of unlabelled samples isn't divided."""
    if isinstance(source, DataModule):
        return source
    splits = _splits(source)
    if loaders := [split for split, part in splits.items() if isinstance(part, DataLoader)]:
        raise ConfigError(f"data: {stream} has a DataLoader for {', '.join(loaders)}: pass its Dataset, and set share.")
    if "train" not in splits:
        raise ConfigError(f"data: {stream} is {describe_value(source)}: expected a name or a Dataset.")
    return DatasetSource(dict.fromkeys(SPLITS[3], splits["train"]) if stream == "unlabelled" else splits, name=stream)


def as_test_split(data: Any) -> Any:
    """Return a single Dataset as a test split; a name, a Data, a tuple, a list or a mapping unchanged."""
    if data is None or isinstance(data, str | DataModule | tuple | list | Mapping):
        return data
    return {"train": data.dataset if isinstance(data, DataLoader) else data, "test": data}


def _splits(data: Any) -> dict[str, Any]:
    """Return the Dataset of each split, from one Dataset, several, or a mapping of them."""
    if isinstance(data, Mapping):
        splits = {"val" if split == "validation" else str(split): part for split, part in data.items()}
    else:
        samples = isinstance(data, list) and len(data) > max(SPLITS)  # a list of samples is a Dataset
        parts = tuple(data) if isinstance(data, tuple | list) and not samples else (data,)
        splits = dict(zip(SPLITS.get(len(parts), ()), parts, strict=False))
    if not splits or not splits.keys() <= {"train", "val", "test"}:
        raise ConfigError(f"data={describe_value(data)}: expected {ARGUMENTS['data'][1]}.")
    return {split: part for split, part in splits.items() if part is not None}


def refuse_wrong_types(**provided: Any) -> None:
    """Refuse arguments of a wrong type, all at once."""
    arguments = [(name, value, ARGUMENTS[name]) for name, value in provided.items()]
    faults = [
        f"{name}={describe_value(value)}: expected {expected}."
        for name, value, (fits, expected) in arguments
        if not fits(value)
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def _is_network(value: Any) -> bool:
    return isinstance(value, str | Path | nn.Module)


def _are_teachers(value: Any) -> bool:
    kinds = (str, Path, Mapping)
    return isinstance(value, tuple | list) and bool(value) and all(isinstance(item, kinds) for item in value)


def _is_part(item: Any) -> bool:
    return isinstance(item, Loss | LossSum | Term)


DATASET_OPTIONS = ("classes", "mean", "std", "normalised", "fields", "modalities")
"""The options of Datasets."""

SPLITS = {1: ("train",), 2: ("train", "test"), 3: ("train", "val", "test")}
"""The splits of a tuple of Datasets, by its length."""

ARGUMENTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "student": (
        lambda value: _is_network(value) or isinstance(value, Mapping),
        "a model's name, a run folder, a torch.nn.Module object, or a mapping {model: …}",
    ),
    "teacher": (
        lambda value: _is_network(value) or isinstance(value, Mapping) or _are_teachers(value),
        "a model's name, a run folder, a torch.nn.Module, a mapping {model: …} or {name: …}, or a list of names",
    ),
    "data": (
        lambda value: (
            isinstance(value, str | DataModule | IterableDataset | DataLoader) or hasattr(value, "__getitem__")
        ),
        "a name (`tutelage list data`), a Data, map-style Datasets (train, test), or {labelled: …, unlabelled: …}",
    ),
    "method": (
        lambda value: isinstance(value, str | Loss | LossSum | Term | Terms | list | tuple | Mapping),
        "a loss (an object, as KD()), a sum of losses, a Terms, a list of them, or a name (`tutelage list losses`)",
    ),
    "callbacks": (
        lambda value: isinstance(value, tuple | list) and all(isinstance(item, Callback) for item in value),
        "a list of tutelage.training.callbacks.Callback objects",
    ),
    "folder": (lambda value: isinstance(value, str | Path), "the folder of a run"),
    "model": (_is_network, "a run folder, a saved network's file, or a torch.nn.Module object"),
}
"""A test of each argument, and a description of its valid values."""
