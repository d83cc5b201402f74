"""Faults of configuration keys, as sentences."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tutelage.errors import shown


def describe_faults(error: ValidationError, fields: Mapping[str, FieldInfo], config: Mapping[str, Any]) -> str:
    """Return every fault on a line of its own, beginning with the value; fields: the known keys; config: the values."""
    lines: list[str] = []
    wrong: dict[str, list[tuple[list[str], str, str]]] = {}
    for fault in error.errors():
        path = _path(fault["loc"], config)
        if not path:
            lines += [f"{line.rstrip('.')}." for line in _reason(fault).splitlines()]
        elif fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
            near = difflib.get_close_matches(shown(path[0]), fields, n=2)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            lines.append(f"unknown key {shown(path[0])!r}: {hint}`tutelage distill --help` lists them.")
        else:
            wrong.setdefault(path[0], []).append((path, shown(repr(fault["input"])), _reason(fault)))
    of_keys = [line for key, errors in wrong.items() for line in _key_faults(errors, fields[key].description or "")]
    return "\n".join(dict.fromkeys([*of_keys, *lines]))


def _key_faults(errors: Sequence[tuple[list[str], str, str]], description: str) -> Iterator[str]:
    """Yield the sentences on one key; of several alternative types, on the one that matched deepest."""
    deepest = max(len(path) for path, _, _ in errors)
    reasons_of: dict[str, list[str]] = {}
    for path, value, reason in errors:
        if len(path) == deepest:
            reasons_of.setdefault(f"{'.'.join(path)}={value}", []).append(reason)
    for setting, reasons in reasons_of.items():
        for line in " or ".join(dict.fromkeys(reasons)).splitlines():
            yield f"{setting}: {line.rstrip('.')} ({description})."


def find_contradictions(config: Mapping[str, Any], error: ValidationError, make: Callable[..., Any]) -> list[str]:
    """Return further faults of the keys that are valid by themselves: contradictions that involve no invalid key."""
    wrong = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
    if not wrong:
        return []
    try:
        make(**{key: value for key, value in config.items() if key not in wrong})
    except ValidationError as contradictions:
        lines = [line for fault in contradictions.errors() for line in _reason(fault).splitlines() if not fault["loc"]]
        return [f"{line.rstrip('.')}." for line in lines if not wrong & set(re.findall(r"\w+", line))]
    return []


def find_missing_paths(config: Mapping[str, Any]) -> list[str]:
    """Return sentences about paths that don't exist."""
    kind, _, where = str(config.get("data", "")).partition(":")
    weights = {key: str(config[key]) for key in ("teacher_weights", "student_weights") if config.get(key)}
    paths = weights | ({"data": where} if where and kind != "python" else {})
    return [
        f"{key}={config[key]}: there is nothing at {path}."
        for key, path in paths.items()
        if not path.startswith("stage:") and not os.path.exists(os.path.expanduser(path))
    ]


def _path(loc: Sequence[int | str], value: Any) -> list[str]:
    """Return the path to a fault in the configuration, without pydantic's names of the alternative types."""
    path: list[str] = []
    for step in loc:
        items = value if isinstance(value, Mapping) else dict(enumerate(value)) if isinstance(value, list) else {}
        if step in items or not path:
            path.append(str(step))
            value = items.get(step)
    return path


def _reason(fault: Mapping[str, Any]) -> str:
    return _lower(fault["msg"].removeprefix("Assertion failed, "))


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
