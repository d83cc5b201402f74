"""Whole runs by name: one file a paper, whose `recipe()` returns the configuration's keys; the user's words win.

A recipe's own parameters are some of the keys (`epochs`, `teacher`), by which it goes; those that the configuration
would refuse don't reach it.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from tutelage.errors import ConfigError, unknown
from tutelage.utils import registry

FOLDER = Path(__file__).parent


def names() -> dict[str, str]:
    """Every recipe's name and the first line of its file."""
    return {name: text(name).partition("\n")[0] for name in sorted(_files())}


def _files() -> dict[str, Path]:
    """The file of each recipe, ours and those of other packages."""
    ours = {path.stem: path for path in FOLDER.glob("[!_]*.py")}
    return ours | {stem(name): plugin.path for name, plugin in registry.plugins("recipes").items()}


def text(name: str) -> str:
    """The docstring of a recipe's file: what it is, the paper, the numbers."""
    return ast.get_docstring(ast.parse(_files()[stem(name)].read_text(encoding="utf-8"))) or ""


def has(name: str) -> bool:
    """Whether there is a recipe of that name."""
    return stem(name) in _files()


def stem(name: str) -> str:
    """The name as the file has it."""
    return name.lower().replace("-", "_")


def load(name: str, keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keys that the recipe sets beside those that are set.

    Raises: ConfigError if there is no such recipe, or it has no default for what isn't set.
    """
    if not has(name):
        raise ConfigError(unknown("recipe", name, names(), "tutelage list recipes"))
    plugin = {stem(key): plugin for key, plugin in registry.plugins("recipes").items()}.get(stem(name))
    recipe = (plugin.load() if plugin else importlib.import_module(f"{__name__}.{stem(name)}")).recipe
    kinds = get_type_hints(recipe)
    return dict(recipe(**{key: x for key, x in (keys or {}).items() if key in kinds and _sound(x, kinds[key])}))


def _sound(value: Any, kind: Any) -> bool:
    """Whether a recipe can go by this."""
    if kind is Any or isinstance(value, bool):
        return kind in (Any, bool)
    return isinstance(value, kind) and (not isinstance(value, int) or value > 0)
