"""Generates type stubs for names that are only known at run time; run `python docs/stubs.py` to rewrite them."""

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
"""Keys that are separate parameters, with more types."""


def files() -> dict[Path, str]:
    """Return the text of each generated file, by its path."""
    return {PACKAGE / "_catalogue.pyi": catalogue(), PACKAGE / "config" / "keys.py": keys()}


def catalogue() -> str:
    """Return the stub that exports every class of the catalogues from the package."""
    modules: dict[str, str] = {}  # the first class of a name wins, as in the package
    for package in registry.KINDS:
        for entry in registry.catalogue(package).values():
            if entry.module.startswith("tutelage."):
                modules.setdefault(entry.class_name, entry.module)
    lines = sorted(f"from {module} import {name} as {name}" for name, module in modules.items())
    return "\n".join(["# ruff: noqa: I001", '"""Written by docs/stubs.py."""', "", *lines]) + "\n"


def keys() -> str:
    """Return the module with the configuration's keys, their types and descriptions."""
    text = (
        '"""The keys of a run in Python, for editors and type checkers; written by docs/stubs.py."""\n\n'
        "from __future__ import annotations\n\nfrom typing import Any, Literal, TypedDict\n\n"
        "from tutelage.config.kinds import ExtraStudent, StreamSpec\nfrom tutelage.settings import MixSpec\n\n\n"
        "class Keys(TypedDict, total=False):\n"
        '    """Keyword arguments of `distill`, `train` and the like, in addition to their named parameters."""\n\n'
    )
    hints = typing.get_type_hints(Config)
    for name, field in Config.model_fields.items():
        if name not in FIRST:
            docstring = textwrap.fill(f'"""{field.description or ""}"""', 112, break_on_hyphens=False)
            text += f"    {name}: {written(hints[name])}\n{textwrap.indent(docstring, '    ')}\n"
    return text


def written(hint: Any) -> str:
    """Return a type as source text."""
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
