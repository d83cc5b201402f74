"""What is wrong with keys, in sentences."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tutelage.errors import shown


def faults(error: ValidationError, fields: Mapping[str, FieldInfo], asked: Mapping[str, Any]) -> str:
    """Every fault on a line of its own, what was given first; fields: the keys there are; asked: what was given."""
    lines: list[str] = []
    wrong: dict[str, list[tuple[list[str], str, str]]] = {}
    for fault in error.errors():
        path = _path(fault["loc"], asked)
        if not path:
            lines += [f"{line.rstrip('.')}." for line in _reason(fault).splitlines()]
        elif fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
            near = difflib.get_close_matches(shown(path[0]), fields, n=2)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            lines.append(f"unknown key {shown(path[0])!r}: {hint}`tutelage distill --help` lists them.")
        else:
            wrong.setdefault(path[0], []).append((path, shown(repr(fault["input"])), _reason(fault)))
    of_keys = [line for key, found in wrong.items() for line in _of_key(found, fields[key].description or "")]
    return "\n".join(dict.fromkeys([*of_keys, *lines]))


def _of_key(found: Sequence[tuple[list[str], str, str]], description: str) -> Iterator[str]:
    """The sentences on one key; of the alternatives that were tried, on the one that was meant."""
    deepest = max(len(path) for path, _, _ in found)
    reasons: dict[str, list[str]] = {}
    for path, given, reason in found:
        if len(path) == deepest:
            reasons.setdefault(f"{'.'.join(path)}={given}", []).append(reason)
    for what, said in reasons.items():
        for line in " or ".join(dict.fromkeys(said)).splitlines():
            yield f"{what}: {line.rstrip('.')} ({description})."


def beside(asked: Mapping[str, Any], error: ValidationError, make: Callable[..., Any]) -> list[str]:
    """What else is wrong with the keys that are right each by itself: contradictions that touch none of the others."""
    wrong = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
    if not wrong:
        return []
    try:
        make(**{key: value for key, value in asked.items() if key not in wrong})
    except ValidationError as other:
        found = [line for fault in other.errors() for line in _reason(fault).splitlines() if not fault["loc"]]
        return [f"{line.rstrip('.')}." for line in found if not wrong & set(re.findall(r"\w+", line))]
    return []


def absent(asked: Mapping[str, Any]) -> list[str]:
    """What is named by its path and isn't there."""
    kind, _, where = str(asked.get("data", "")).partition(":")
    named = {key: str(asked[key]) for key in ("teacher_weights", "student_weights") if asked.get(key)}
    paths = named | ({"data": where} if where and kind != "python" else {})
    return [
        f"{key}={asked[key]}: there is nothing at {path}."
        for key, path in paths.items()
        if not path.startswith("stage:") and not os.path.exists(os.path.expanduser(path))
    ]


def _path(loc: Sequence[int | str], asked: Any) -> list[str]:
    """Where in what was given a fault is, without pydantic's words for the alternatives that were tried."""
    path: list[str] = []
    for step in loc:
        among = asked if isinstance(asked, Mapping) else dict(enumerate(asked)) if isinstance(asked, list) else {}
        if step in among or not path:
            path.append(str(step))
            asked = among.get(step)
    return path


def _reason(fault: Mapping[str, Any]) -> str:
    return _lower(fault["msg"].removeprefix("Assertion failed, "))


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
