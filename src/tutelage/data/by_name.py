"""Data by name: each file in `sources` knows some names, and says so in its NAMES."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from types import ModuleType

from tutelage.data import sources
from tutelage.data.base import Data
from tutelage.data.found import data_of, fewer, of_classes
from tutelage.data.listing import place
from tutelage.errors import ConfigError, DataError, plain, unknown
from tutelage.kinds import sides


@cache
def _sources() -> tuple[ModuleType, ...]:
    names = sorted(found.name for found in pkgutil.iter_modules(sources.__path__))
    return tuple(importlib.import_module(f"{sources.__name__}.{name}") for name in names)


def available() -> dict[str, str]:
    """What can be loaded: the pattern of the name, and a line about it."""
    return {pattern: line for source in _sources() for pattern, line in source.NAMES.items()}


def load(
    name: str,
    *,
    size: int | str | Sequence[int] | None = None,
    val: float = 0.1,
    seed: int = 0,
    limit: int | None = None,
    labels_per_class: int | None = None,
    augment: str | None = None,
    task: str | None = None,
    classes: Sequence[str] | None = None,
) -> Data:
    """Data by name: "digits", "folder:photos", "npz:my.npz" … (`available()` lists them).

    size: the side, "HEIGHTxWIDTH", or height and width of what models get (None: what suits the data). val: the
    fraction of train that becomes the validation split where the data has none (never of test); seed chooses it. limit,
    labels_per_class: train on a stratified subset of so many samples, of so many a class. augment: as in Data (None:
    what suits the data). task: what the data must be fit for. classes: only the samples of these, in all splits.
    Raises: ConfigError for an unknown name or an option out of range; DataError for data that can't be read or used.

    >>> digits = load("digits")
    >>> digits.channels, digits.size, len(digits.classes)
    (1, (8, 8), 10)
    """
    if classes is not None:
        whole = load(name, size=size, val=val, seed=seed, augment=augment, task=task)
        part = of_classes(whole, classes)
        return replace(part, train=fewer(name, part.train, limit, labels_per_class, seed))
    kind, colon, where = name.partition(":")
    patterns = {pattern.partition(":")[0]: pattern for pattern in available()}
    if kind not in patterns:
        raise ConfigError(unknown("data", plain(kind), patterns) + _meant(name))
    if bool(where) != (":" in patterns[kind]) or bool(colon) != bool(where):
        raise ConfigError(f"data {name!r}: expected {patterns[kind]!r}.{_meant(name)}")
    source = next(source for source in _sources() if patterns[kind] in source.NAMES)
    found = source.find(kind, where, _pair(size))
    if isinstance(found, Data):
        train = fewer(name, found.train, limit, labels_per_class, seed)
        data = replace(found, name=name, train=train, augment=augment or found.augment, size=_pair(size) or found.size)
    else:
        data = data_of(name, found, val=val, seed=seed, limit=limit, labels_per_class=labels_per_class, augment=augment)
    if task not in (None, data.task):
        raise ConfigError(f"data {name!r} is for {data.task}, not for {task}: choose another task or other data.")
    return data


def _meant(name: str) -> str:
    """The hint at a source that reads the path which the name is."""
    try:
        path = place(name)
    except DataError:
        return ""
    near = [
        next(iter(source.NAMES)).partition(":")[0]
        for source in _sources()
        if hasattr(source, "suits") and source.suits(path)
    ]
    return f" Did you mean {' or '.join(f'data={kind}:{plain(name)}' for kind in near)}?" if near else ""


def _pair(size: int | str | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    try:
        return sides(size)
    except ValueError as error:
        raise ConfigError(f"size={size}: {error}.") from error
