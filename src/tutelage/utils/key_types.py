"""What a key may hold beside numbers: names, places, sizes; and what may change later."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

T = TypeVar("T")

SIDE = 4096
"""Pixels of an image's side at most."""
LATER = "may change when a run goes on"
Later = Annotated[T, LATER]
"""Marks a key that may change when a run is resumed."""
FROZEN_ONLY = "is for a teacher that stays as it is"
FrozenOnly = Annotated[T, FROZEN_ONLY]
"""Marks a key of a teacher that isn't trained in the phase."""
RUN_WIDE = "is the same for all trainings of a run"
RunWide = Annotated[T, RUN_WIDE]
"""Marks a key that a stage can't set."""
NAMES_STAGE = "may name an earlier stage"
NamesStage = Annotated[T, NAMES_STAGE]
"""Marks a key whose value may be stage:NAME."""


@dataclass(frozen=True)
class InBaseline:
    """Marks a key with the value that it has where the student is trained alone."""

    value: Any


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


def sides(size: int | str | Sequence[int]) -> tuple[int, int]:
    """Height and width of a side, of "180x240" or of a pair.

    Raises: ValueError if it is none of these, or a side isn't from 1 to 4096.
    """
    if isinstance(size, str):
        found = re.split(r"\s*[x×]\s*", size.strip().lower())
        parts: Sequence[Any] = [int(part) if re.fullmatch(r"[1-9]\d{0,3}", part) else part for part in found]
        parts = [*parts, *parts] if len(parts) == 1 else parts
    else:
        parts = [size, size] if isinstance(size, int) else size
    if len(parts) != 2 or not all(type(part) is int and 1 <= part <= SIDE for part in parts):
        raise ValueError(f"expected a side in pixels, or HEIGHTxWIDTH such as 180x240, each from 1 to {SIDE}")
    return parts[0], parts[1]


def _sides(value: Any) -> Any:
    """A size as it is written down: a number, or HEIGHTxWIDTH."""
    if not isinstance(value, int | str | list | tuple):
        return value
    height, width = sides(value)
    return height if height == width else f"{height}x{width}"


Size = Annotated[int | str | list[int], BeforeValidator(_sides)]
"""Of an image: its side, or HEIGHTxWIDTH."""
Name = Annotated[str, BeforeValidator(_as_text), Field(max_length=1000)]
"""Of a class or a column."""
Place = Annotated[str, BeforeValidator(_place), Field(min_length=1)]
"""A name that may be a path."""
