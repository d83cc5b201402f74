"""Kinds of input fields: each file defines one `Modality`; other packages add theirs by entry point."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from tutelage.data.modalities.base import Modality
from tutelage.errors import ConfigError, unknown
from tutelage.utils import registry


@cache
def modalities() -> dict[str, Modality]:
    """Return all modalities by name."""
    names = sorted(f"{__name__}.{file.name}" for file in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(name) for name in names]
    modules += [plugin.load() for plugin in registry.plugins("modalities").values()]
    found = (vars(module).values() for module in modules)
    kinds = {
        kind
        for values in found
        for kind in values
        if isinstance(kind, type) and issubclass(kind, Modality) and kind is not Modality
    }
    return {kind.name: kind() for kind in sorted(kinds, key=lambda kind: kind.name)}


def find(name: str) -> Modality:
    """Return the modality of that name.

    Raises: ConfigError with near names.
    """
    if name not in modalities():
        raise ConfigError(unknown("modality", name, modalities()))
    return modalities()[name]
