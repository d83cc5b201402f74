"""What editors and mypy need to know of names that are found at run time; `python docs/stubs.py` writes it anew."""

from __future__ import annotations

import textwrap
import types
import typing
from pathlib import Path
from typing import Any

from tutelage.config.schema import Config
from tutelage.utils import registry

PACKAGE = Path(__file__).parents[1] / "src" / "tutelage"
FIRST = ("student", "teacher", "data", "method")
"""Keys that are parameters of their own, of more types."""


def files() -> dict[Path, str]:
    """The files by their paths."""
    return {PACKAGE / "_catalogue.pyi": catalogue(), PACKAGE / "config" / "keys.py": keys()}


def catalogue() -> str:
    """Every class of the catalogues, as names of the package."""
    found: dict[str, str] = {}  # the first of a name wins, as in the package
    for package in registry.KINDS:
        for entry in registry.catalogue(package).values():
            if entry.module.startswith("tutelage."):
                found.setdefault(entry.class_name, entry.module)
    lines = sorted(f"from {module} import {name} as {name}" for name, module in found.items())
    return "\n".join(["# ruff: noqa: I001", '"""Written by docs/stubs.py."""', "", *lines]) + "\n"


def keys() -> str:
    """The configuration's keys with their types and what they are."""
    text = (
        '"""The keys of a run in Python, for editors and type checkers; written by docs/stubs.py."""\n\n'
        "from __future__ import annotations\n\nfrom typing import Any, Literal, TypedDict\n\n"
        "from tutelage.config.kinds import ExtraStudent\n\n\n"
        'class Keys(TypedDict, total=False):\n    """What `distill` and its kind take beside what they name."""\n\n'
    )
    hints = typing.get_type_hints(Config)
    for name, field in Config.model_fields.items():
        if name not in FIRST:
            told = textwrap.fill(f'"""{field.description or ""}"""', 112, break_on_hyphens=False)
            text += f"    {name}: {written(hints[name])}\n{textwrap.indent(told, '    ')}\n"
    return text


def written(hint: Any) -> str:
    """A type as it is written."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(ascii, parts))}]".replace("'", '"')
    if origin in (types.UnionType, typing.Union):
        return " | ".join(map(written, parts))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(written, parts))}]"
    return "None" if hint is type(None) else "Any" if hint is Any else hint.__name__


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
