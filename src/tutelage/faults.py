"""What is wrong with keys, in sentences."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from tutelage.errors import unknown


def faults(error: ValidationError, fields: Mapping[str, FieldInfo]) -> str:
    """Every fault on a line of its own, what was given first; fields: the keys that there are."""
    lines, forms = [], ("function", "list[", "literal[", "str")
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"] if not str(part).startswith(forms))
        if fault["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, fields, n=2)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            lines.append(f"unknown key {key!r}: {hint}`tutelage distill --help` lists them.")
        elif not key:
            lines.append(fault["msg"].removeprefix("Value error, ") + ".")
        else:
            help_line = fields[key.split(".")[0]].description
            given = fault["input"] if not isinstance(fault["input"], dict) else "…"
            lines.append(f"{key}={given!r}: {_lower(fault['msg'])} ({help_line}).")
    return "\n".join(dict.fromkeys(lines))


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def of_options(who: str, make: Callable[..., Any], options: Mapping[str, Any]) -> list[str]:
    """What is wrong with what is told to `make`, whose first parameter isn't an option: names and kinds."""
    taken, kinds = list(inspect.signature(make).parameters)[1:], typing.get_type_hints(make)
    found = [unknown(f"option of {who}", key, taken) for key in options if key not in taken]
    for key, value in options.items():
        try:
            TypeAdapter(kinds.get(key, Any)).validate_python(value, strict=True)
        except ValidationError as error:
            reasons = " or ".join(dict.fromkeys(_lower(fault["msg"]) for fault in error.errors()))
            found.append(f"{key}={value!r} of {who}: {reasons}.")
    return found
