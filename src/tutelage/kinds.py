"""What a key may hold beside numbers: names, places, mappings with words of their own; and what may change later."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, with_config
from typing_extensions import TypedDict

T = TypeVar("T")

LATER = "may change when a run goes on"
Later = Annotated[T, LATER]
"""Marks a key that may change when a run is resumed."""


@dataclass(frozen=True, eq=False)
class Hints:
    """Of a mapping: what its words may hold, as the parser reads them; keys: whether a configuration's may be there."""

    words: Mapping[str, Any] = field(default_factory=dict)
    keys: bool = False


def plain(value: Any) -> Any:
    """A value as YAML has it: lists for tuples, text for paths, and text that can be written down.

    Raises: ValueError for text with NUL or bytes that aren't UTF-8.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("there is a NUL character in it")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError("it isn't UTF-8; rename the file or folder")
        return value
    if isinstance(value, os.PathLike):
        return plain(os.fsdecode(value))
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _place(value: Any) -> Any:
    """`~` at the beginning, or after `folder:` and the like, as the home folder; refuses what no file can be called."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"([a-z0-9-]+:)?(~.*)", value)
    text = f"{found[1] or ''}{os.path.expanduser(found[2])}" if found else value
    parts = [len(part.encode()) for part in Path(text).parts]
    if parts and (max(parts) > 255 or sum(parts) > 4000):
        raise ValueError("no file or folder can have so long a name")
    return text


Spec = dict[str, Any]
Name = Annotated[str, BeforeValidator(_as_text), Field(max_length=1000)]
"""Of a class or a column."""
Place = Annotated[str, BeforeValidator(_place), Field(min_length=1)]
"""A name that may be a path."""

Layers = str | list[str]
Term = Annotated[Spec, Hints({"name": str, "student": Layers, "teacher": Layers, "connector": str})]
Method = str | Term | list[str | Term] | None
Scheme = str | Annotated[Spec, Hints({"name": str})]


@with_config(ConfigDict(extra="forbid", strict=True))
class Further(TypedDict, total=False):
    """What a further student may be told."""

    name: Name
    student: Place
    method: Method
    seed: Annotated[int, Field(ge=0, le=2**31)]


FURTHER: Mapping[str, Any] = get_type_hints(Further, include_extras=True)
