"""The command that repeats a run: one line for a shell, with only the keys that differ from the defaults."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from tutelage.errors import TutelageError
from tutelage.report.summary_sections import FIRST_KEYS


def rerun_command(config: Mapping[str, Any]) -> str | None:
    """Return the command; None if a part was passed as a Python object, or if the configuration is invalid."""
    from tutelage.config.schema import Config, check

    train = all(config.get(key) in (None, "offline") for key in ("teacher", "method", "scheme"))
    implied = {"teacher": None, "method": None} if train else {}
    names = [*(name for name in FIRST_KEYS if name in config), *(name for name in config if name not in FIRST_KEYS)]
    keys = {name: config[name] for name in names if name != "out" and name not in implied}
    try:
        expected = check({**config, "out": None})
        defaults = {name: field.default for name, field in Config.model_fields.items()}
        changed = {name: value for name, value in keys.items() if value != defaults.get(name)}
        if _reproduces(changed | implied, expected):  # spares a check of each of the other keys
            keys = changed
        for name in list(keys):
            without = {key: value for key, value in keys.items() if key != name}
            if _reproduces(without | implied, expected):
                keys = without
        arguments = [f"{name}={_text(name, value)}" for name, value in keys.items()]
    except TutelageError:
        return None
    if _is_object(config) or not _reproduces(keys | implied, expected):
        return None
    return shlex.join(["tutelage", "train" if train else "distill", *arguments])


def _reproduces(keys: Mapping[str, Any], expected: Any) -> bool:
    """Return whether these keys give the expected configuration."""
    from tutelage.config.schema import check

    try:
        return check(keys) == expected
    except TutelageError:  # a key that can't be left out
        return False


def _text(name: str, value: Any) -> str:
    """Format a value so that the command line reads it back, with the fewest quotes."""
    from tutelage.config.schema import parse_pairs

    flow = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf)
    texts = [value] if isinstance(value, str) and value.isprintable() else []
    texts += [flow.removesuffix("...\n").strip(), json.dumps(value, ensure_ascii=False)]
    valid = []
    for text in texts:
        try:
            valid += [text] * (parse_pairs([f"{name}={text}"]) == {name: value})
        except TutelageError:  # it isn't YAML
            continue
    if not valid:
        raise TutelageError(f"{name}: {value!r} can't be written on a command line.")
    return min(valid, key=lambda text: text.count("'"))


def _is_object(config: Mapping[str, Any]) -> bool:
    """Return whether a network or the data was passed as a Python object, which has no name."""
    from tutelage.data.loading import available

    kinds = {pattern.partition(":")[0] for pattern in available()}
    networks = [config.get("student"), config.get("teacher")]
    return str(config.get("data", "digits")).partition(":")[0] not in kinds or any(
        isinstance(name, str) and name.startswith("object:") for name in networks
    )
