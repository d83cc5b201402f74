"""Whole runs by name: one file a paper, whose `recipe()` returns the configuration's keys; the user's words win.

A recipe's own parameters are whole numbers among the keys (`epochs`), by which it goes.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def names() -> dict[str, str]:
    """Every recipe's name and the first line of its file."""
    found = {}
    for path in sorted(FOLDER.glob("[!_]*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem] = doc.partition("\n")[0]
    return found


def has(name: str) -> bool:
    """Whether there is a recipe of that name."""
    return name.lower().replace("-", "_") in names()


def load(name: str, keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keys that the recipe sets beside those that are set."""
    recipe = importlib.import_module(f"{__name__}.{name.lower().replace('-', '_')}").recipe
    taken = inspect.signature(recipe).parameters
    return dict(recipe(**{key: x for key, x in (keys or {}).items() if key in taken and type(x) is int and x > 0}))
