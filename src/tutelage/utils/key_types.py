"""Types of configuration keys other than numbers: names, paths and sizes; and markers of keys."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

T = TypeVar("T")

MAX_SIDE = 4096
"""The largest side of an image, in pixels."""
CHANGES_ON_RESUME = "may change when a run is resumed"
ChangesOnResume = Annotated[T, CHANGES_ON_RESUME]
"""Marks a key that may change when a run is resumed."""
FROZEN_ONLY = "is for a frozen teacher"
FrozenOnly = Annotated[T, FROZEN_ONLY]
"""Marks a key of a teacher that isn't trained in the phase."""
RUN_WIDE = "is the same for all trainings of a run"
OF_DATA = "chooses the data or its task, which stages before the student's may change"
OfData = Annotated[T, OF_DATA]
RunWide = Annotated[T, RUN_WIDE]
"""Marks a key that a stage can't set."""
MAY_NAME_STAGE = "may name an earlier stage"
MayNameStage = Annotated[T, MAY_NAME_STAGE]
"""Marks a key whose value may be stage:NAME."""


@dataclass(frozen=True)
class InBaseline:
    """Marks a key with the value that it has where the student is trained alone."""

    value: Any


@dataclass(frozen=True, eq=False)
class EntryTypes:
    """Of a mapping: the types of its entries, for the parser; keys: whether it may also have configuration keys."""

    words: Mapping[str, Any] = field(default_factory=dict)
    keys: bool = False


def to_plain(value: Any) -> Any:
    """Return a value in YAML's types: lists for tuples and arrays, numbers for numpy's, text for paths.

    Text must be such that can be encoded.

    Raises: ValueError for text with NUL or bytes that aren't UTF-8.
    """
    value = value.tolist() if hasattr(value, "tolist") else value  # of numpy or torch
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("it contains a NUL character")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError("it isn't UTF-8; rename the file or folder")
        return value
    if isinstance(value, os.PathLike):
        return to_plain(os.fsdecode(value))
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, tuple | list) else value


def texts_within(value: Any) -> list[str]:
    """Return the texts within a setting, at any depth."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [text for each in inner for text in texts_within(each)]


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _place(value: Any) -> Any:
    """Expand `~` at the beginning, or after `folder:` and the like; reject text that can't be a file's path."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([a-z0-9-]+:)?(~.*)", value)
    text = f"{match[1] or ''}{os.path.expanduser(match[2])}" if match else value
    parts = [len(part.encode()) for part in Path(text).parts]
    if parts and (max(parts) > 255 or sum(parts) > 4000):
        raise ValueError("the name is too long for a file or folder; expected 255 bytes at most per part")
    return text


def parse_size(size: int | str | Sequence[int]) -> tuple[int, int]:
    """Return height and width, given a side, "180x240" or a pair.

    Raises: ValueError for another value, or a side that isn't from 1 to 4096.
    """
    if isinstance(size, str):
        texts = re.split(r"\s*[x×]\s*", size.strip().lower())
        parts: Sequence[Any] = [int(text) if re.fullmatch(r"[1-9]\d{0,3}", text) else text for text in texts]
        parts = [*parts, *parts] if len(parts) == 1 else parts
    else:
        parts = [size, size] if isinstance(size, int) else size
    if len(parts) != 2 or not all(type(part) is int and 1 <= part <= MAX_SIDE for part in parts):
        raise ValueError(f"expected a side in pixels, or HEIGHTxWIDTH such as 180x240, each from 1 to {MAX_SIDE}")
    return parts[0], parts[1]


def _sides(value: Any) -> Any:
    """Return a size in its written form: a number, or HEIGHTxWIDTH."""
    if not isinstance(value, int | str | list | tuple):
        return value
    height, width = parse_size(value)
    return height if height == width else f"{height}x{width}"


Size = Annotated[int | str | list[int], BeforeValidator(_sides)]
"""An image's size: its side, or HEIGHTxWIDTH."""
Name = Annotated[str, BeforeValidator(_as_text), Field(max_length=1000)]
"""The name of a class or a column."""
NameOrPath = Annotated[str, BeforeValidator(_place), Field(min_length=1)]
"""A name that may be a path."""
