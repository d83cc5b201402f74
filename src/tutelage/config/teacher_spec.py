"""A teacher as one mapping: `teacher: {model: resnet56, epochs: 60, precision: bf16}` in place of `teacher_…` keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tutelage.errors import ConfigError, unknown

PREFIX = "teacher_"


def flattened(keys: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the keys with a nested teacher written as `teacher` and the keys `teacher_…`; `known`: all keys.

    Of several teachers, `classes` is a list for each, and any other key is the same for all.
    Raises: ConfigError for an unknown key, for one that is set twice, or that differs among several teachers.
    """
    teacher = keys.get("teacher")
    if isinstance(teacher, Mapping) and _is_nested(teacher):
        return _with({**keys}, _checked(teacher, known))
    if isinstance(teacher, list) and any(map(_is_nested, teacher)):
        specs = [_checked(spec, known) if _is_nested(spec) else {"teacher": spec} for spec in teacher]
        return _with({**keys}, _joined(specs))
    return {**keys}


def _is_nested(teacher: Any) -> bool:
    return isinstance(teacher, Mapping) and "name" not in teacher


def _checked(spec: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return a nested teacher's keys as the configuration has them."""
    if not isinstance(spec.get("model"), str):
        raise ConfigError(f"teacher={dict(spec)}: it needs a model, such as {{model: resnet56, epochs: 60}}.")
    words = {"model", *(key.removeprefix(PREFIX) for key in known if key.startswith(PREFIX))}
    if wrong := [str(key) for key in spec if key not in words]:
        raise ConfigError("\n".join(unknown("key of a teacher", key, sorted(words)) for key in wrong))
    return {"teacher" if key == "model" else f"{PREFIX}{key}": value for key, value in spec.items()}


def _joined(specs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return several teachers' keys as one."""
    joined: dict[str, Any] = {"teacher": [spec.pop("teacher") for spec in specs]}
    classes = [spec.pop("teacher_classes", None) for spec in specs]
    if any(names is not None for names in classes):
        joined["teacher_classes"] = classes
    for key in dict.fromkeys(key for spec in specs for key in spec):
        values = [spec.get(key) for spec in specs]
        if any(value != values[0] for value in values):
            raise ConfigError(
                f"teacher: {key.removeprefix(PREFIX)} is {', '.join(map(str, values))} for the teachers of this "
                "list; it "
                "is the same for all of them: train one that differs in a run of its own, and give its run folder."
            )
        joined[key] = values[0]
    return joined


def _with(keys: dict[str, Any], nested: Mapping[str, Any]) -> dict[str, Any]:
    if twice := [key for key in nested if key in keys and key != "teacher"]:
        raise ConfigError(f"{twice[0]} is set twice, in teacher={{…}} and as {twice[0]}: leave one out.")
    return keys | dict(nested)
