"""Data by name: each file in `sources` knows some names, and says so in its NAMES."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from types import ModuleType

from tutelage.data import sources
from tutelage.data.data_module import DataModule
from tutelage.data.listing import place
from tutelage.data.preparation import VAL, made, pair
from tutelage.errors import ConfigError, DataError, plain, unknown
from tutelage.utils import registry


@cache
def _sources() -> tuple[ModuleType, ...]:
    names = sorted(found.name for found in pkgutil.iter_modules(sources.__path__))
    ours = tuple(importlib.import_module(f"{sources.__name__}.{name}") for name in names)
    return ours + tuple(plugin.load() for plugin in registry.plugins("data").values())


def available() -> dict[str, str]:
    """What can be loaded: the pattern of the name, and a line about it."""
    return {pattern: line for source in _sources() for pattern, line in source.NAMES.items()}


def is_name(name: str) -> bool:
    """Whether data can be looked for by that name; if not, it was given as an object."""
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
    fingerprint: str = "names",
) -> DataModule:
    """Data by name: "digits", "folder:photos", "npz:my.npz" … (`available()` lists them).

    size: the side, "HEIGHTxWIDTH", or height and width of what models get (None: what suits the data). val: the
    fraction of train that becomes the validation split where the data has none (never of test); seed chooses it. limit,
    labels_per_class: train on a stratified subset of so many samples, of so many a class. augment: as in Data (None:
    what suits the data). task: what the data must be fit for. classes: only the samples of these, in all splits.
    fingerprint: "names": files are known by their names and sizes; "content": by what is in them.
    Raises: ConfigError for an unknown name or an option out of range; DataError for data that can't be read or used.

    >>> digits = load("digits")
    >>> digits.channels, digits.size, len(digits.classes)
    (1, (8, 8), 10)
    """
    kind, colon, where = name.partition(":")
    patterns = {pattern.partition(":")[0]: pattern for pattern in available()}
    if kind not in patterns:
        raise ConfigError(unknown("data", plain(kind), patterns, "tutelage list data") + _meant(name))
    if bool(where) != (":" in patterns[kind]) or bool(colon) != bool(where):
        raise ConfigError(f"data {name!r}: expected {patterns[kind]!r}.{_meant(name)}")
    source = next(source for source in _sources() if patterns[kind] in source.NAMES)
    found = source.find(kind, where, pair(size))
    data = made(
        name,
        found,
        size=pair(size) if isinstance(found, DataModule) else None,
        val=val,
        seed=seed,
        limit=limit,
        labels_per_class=labels_per_class,
        augment=augment,
        classes=classes,
        fingerprint=fingerprint,
    )
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
