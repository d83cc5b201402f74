"""Complete runs by name, one file per paper; `recipe()` returns configuration keys, which the user's keys override.

The parameters of a recipe are configuration keys on which it depends (`epochs`, `teacher`); values that the
configuration would reject aren't passed to it.
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
    """Return the name of each recipe, with the first line of its file."""
    return {name: _docstring(path).partition("\n")[0] for name, path in sorted(_files().items())}


def _files() -> dict[str, Path]:
    """Return the file of each recipe, also of those in other packages."""
    own_files = {path.stem: path for path in FOLDER.glob("[!_]*.py")}
    return own_files | {stem(name): plugin.path for name, plugin in registry.plugins("recipes").items()}


def text(name: str) -> str:
    """Return the docstring of a recipe's file."""
    return _docstring(_files()[stem(name)])


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def has(name: str) -> bool:
    """Return whether there is a recipe of that name."""
    return stem(name) in _files()


def stem(name: str) -> str:
    """Return the recipe's name in the form of file names."""
    return name.lower().replace("-", "_")


def load(name: str, keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the keys that a recipe sets.

    Args:
        name: the recipe.
        keys: the keys that the user sets, of which the recipe gets those that are its parameters.

    Raises: ConfigError if there is no such recipe, or it has no default for a key that isn't set.
    """
    if not has(name):
        raise ConfigError(unknown("recipe", name, names(), "tutelage list recipes"))
    plugin = {stem(key): plugin for key, plugin in registry.plugins("recipes").items()}.get(stem(name))
    recipe = (plugin.load() if plugin else importlib.import_module(f"{__name__}.{stem(name)}")).recipe
    kinds = get_type_hints(recipe)
    return dict(recipe(**{key: x for key, x in (keys or {}).items() if key in kinds and _is_valid(x, kinds[key])}))


def _is_valid(value: Any, kind: Any) -> bool:
    """Return True if the value is valid for a recipe's parameter of that type."""
    if kind is Any or isinstance(value, bool):
        return kind in (Any, bool)
    return isinstance(value, kind) and (not isinstance(value, int) or value > 0)
