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
    return {path.stem: text(path.stem).partition("\n")[0] for path in sorted(FOLDER.glob("[!_]*.py"))}


def text(name: str) -> str:
    """What a recipe's file says of it: what it is, the paper, the numbers."""
    return ast.get_docstring(ast.parse((FOLDER / f"{_stem(name)}.py").read_text(encoding="utf-8"))) or ""


def has(name: str) -> bool:
    """Whether there is a recipe of that name."""
    return _stem(name) in names()


def _stem(name: str) -> str:
    return name.lower().replace("-", "_")


def load(name: str, keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keys that the recipe sets beside those that are set."""
    recipe = importlib.import_module(f"{__name__}.{_stem(name)}").recipe
    taken = inspect.signature(recipe).parameters
    return dict(recipe(**{key: x for key, x in (keys or {}).items() if key in taken and type(x) is int and x > 0}))
