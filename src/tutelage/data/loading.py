"""Data by name: each file in `sources` lists its names in NAMES."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

from tutelage.data import sources
from tutelage.data.data_module import SPLITS, DataModule
from tutelage.data.listing import to_path
from tutelage.data.preparation import VAL, height_and_width, prepare_data
from tutelage.data.sealed import seal
from tutelage.errors import ConfigError, DataError, plain, unknown
from tutelage.utils import registry

SOURCE_OPTIONS = ("target", "group", "drop", "heatmaps", "reading", "neighbours")
"""The options that only some sources have."""

OF_RUN = ("task", "is_sealed")
"""The options that only some sources take, from a run: its task, and whether test may not be read."""

OF_READING = ("reading", "neighbours")
"""The options that hold for all samples, also for unlabelled ones beside the data."""


@cache
def _sources() -> tuple[ModuleType, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(sources.__path__))
    built_in = tuple(importlib.import_module(f"{sources.__name__}.{name}") for name in names)
    return built_in + tuple(plugin.load() for plugin in registry.plugins("data").values())


def available() -> dict[str, str]:
    """Return the names that can be loaded, as patterns, each with one line about it."""
    return {pattern: line for source in _sources() for pattern, line in source.NAMES.items()}


def is_name(name: str) -> bool:
    """Return True if data can be loaded by that name; if not, they were passed as an object."""
    return name.partition(":")[0] in {pattern.partition(":")[0] for pattern in available()}


def load(
    name: str,
    *,
    size: int | str | Sequence[int] | None = None,
    val: float = VAL,
    seed: int = 0,
    limit: int | None = None,
    labels_per_class: int | None = None,
    augment: str | None = None,
    task: str | None = None,
    classes: Sequence[str] | None = None,
    split: str | Sequence[str] = "samples",
    fingerprint: str = "names",
    judged_on: str = "test",
    **source_options: Any,
) -> DataModule:
    """Load data by name: "digits", "folder:photos", "npz:my.npz" … (`available()` lists them).

    Args:
        name: one of the patterns of `available()`.
        size: the height and width that models get: the side, "HEIGHTxWIDTH" or a pair (None: what suits the data).
        val: the fraction of train that becomes the validation split if the data has none (never of test).
        seed: chooses the validation split and the subsets.
        limit: train on a stratified subset of this many samples.
        labels_per_class: train on this many samples of each class.
        augment: training augmentation, as in DataModule (None: what suits the data).
        task: the task that the data must be for.
        classes: keep only the samples of these classes, in all splits.
        split: "samples"; "classes": train, val and test have no class in common (`data.class_split`); or the names of
            the classes of test, which are in no other split.
        fingerprint: "names": files are identified by their names and sizes; "content": by their contents.
        judged_on: "val": nothing can read test afterwards (`data.sealed`).
        source_options: options of some sources: target (the columns to estimate), group (the column of groups that no
            two splits may share), drop (columns that are no inputs), reading (options of its own), heatmaps (of key
            points), neighbours (of each node, by hop); None or empty:
            not set.

    Raises: ConfigError for an unknown name or an option out of range; DataError for data that can't be read or used.

    >>> digits = load("digits")
    >>> digits.channels, digits.size, len(digits.classes)
    (1, (8, 8), 10)
    """
    source, kind, where = _find(name)
    is_sealed = judged_on == "val"
    if split == "samples":  # else the samples of all splits are joined first
        source_options["is_sealed"] = is_sealed
    source_options = _options_of(source, name, {**source_options, "task": task})
    source_data = source.find(kind, where, height_and_width(size), **source_options)
    source_options = {key: value for key, value in source_options.items() if key not in OF_RUN}
    data = prepare_data(
        name,
        source_data,
        size=height_and_width(size) if isinstance(source_data, DataModule) else None,
        val=val,
        seed=seed,
        limit=limit,
        labels_per_class=labels_per_class,
        augment=augment,
        classes=classes,
        split=split,
        fingerprint=fingerprint,
    )
    if task not in (None, data.task):
        raise ConfigError(f"data {name!r} is for {data.task}, not for {task}: choose another task or other data.")
    of_split = {} if split == "samples" else {"split": split, "val": val, "seed": seed}
    of_classes = {} if classes is None else {"classes": list(classes)}
    data = replace(data, source_options=source_options | of_split | of_classes)
    return seal(data, val, seed) if is_sealed else data


def load_unlabelled(
    name: str, size: tuple[int, int] | None = None, fingerprint: str = "names", **source_options: Any
) -> DataModule:
    """Load data by name whose labels aren't used: train has all samples of its source's training split.

    reading: options of the source, as in `load`.
    Raises: as `load`; ConfigError for data that a function of one's own made.
    """
    source, kind, where = _find(name)
    found = source.find(kind, where, size, **_options_of(source, name, source_options))
    if isinstance(found, DataModule):
        return prepare_data(name, found, size=size, fingerprint=fingerprint)
    train = found.splits["train"]
    return prepare_data(name, replace(found, splits=dict.fromkeys(SPLITS, train)), fingerprint=fingerprint)


def same_source(name: str, other: str) -> bool:
    """Return whether data of two names have one source, and so the same options."""
    return _find(name)[0] is _find(other)[0]


def may_share_samples(name: str) -> bool:
    """Return whether data of that name may have the samples of other data, as a graph's nodes do."""
    source, kind, _ = _find(name)
    return kind in getattr(source, "SHARED_WITH_LABELLED", ())


def _find(name: str) -> tuple[ModuleType, str, str]:
    """Return the source of a name, and the two parts of the name.

    Raises: ConfigError if there is none.
    """
    kind, colon, where = name.partition(":")
    patterns = {pattern.partition(":")[0]: pattern for pattern in available()}
    if kind not in patterns:
        raise ConfigError(unknown("data", plain(kind), patterns, "tutelage list data") + _suggest(name))
    if bool(where) != (":" in patterns[kind]) or bool(colon) != bool(where):
        raise ConfigError(f"data {name!r}: expected {patterns[kind]!r}.{_suggest(name)}")
    return next(source for source in _sources() if patterns[kind] in source.NAMES), kind, where


def _options_of(source: ModuleType, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are set.

    Raises: ConfigError if the source has no such option.
    """
    known = [p.name for p in inspect.signature(source.find).parameters.values() if p.kind is p.KEYWORD_ONLY]
    given = {key: value for key, value in options.items() if value and (key not in OF_RUN or key in known)}
    if other := [key for key in given if key not in known]:
        allowed = f"it takes {', '.join(k for k in known if k not in OF_RUN)}" if known else "it has no such options"
        raise ConfigError(f"data {name!r}: {', '.join(f'{key}=…' for key in other)}: {allowed}.")
    return given


def _suggest(name: str) -> str:
    """Return a hint at the sources that can read the path, if the name is a path."""
    try:
        path = to_path(name)
    except DataError:
        return ""
    kinds = [
        next(iter(source.NAMES)).partition(":")[0]
        for source in _sources()
        if hasattr(source, "suits") and source.suits(path)
    ]
    return f" Did you mean {' or '.join(f'data={kind}:{plain(name)}' for kind in kinds)}?" if kinds else ""
