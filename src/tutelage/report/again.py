"""The command that repeats a run: one line that pastes into a shell, with what differs from the defaults alone."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from tutelage.errors import TutelageError

BUDGET = ("teacher", "student", "data", "recipe", "method", "task", "epochs", "batch_size", "lr", "seed", "seeds")
"""The keys that are said first."""


def command(config: Mapping[str, Any]) -> str | None:
    """The line; None where words can't say the run: a part was given as an object, or the configuration is torn."""
    from tutelage.config.schema import check

    train = all(config.get(key) in (None, "offline") for key in ("teacher", "method", "scheme"))
    own = {"teacher": None, "method": None} if train else {}
    names = [*(name for name in BUDGET if name in config), *(name for name in config if name not in BUDGET)]
    said = {name: config[name] for name in names if name != "out" and name not in own}
    try:
        whole = check({**config, "out": None})
        for name in list(said):
            fewer = {key: value for key, value in said.items() if key != name}
            if _reads(fewer | own, whole):
                said = fewer
        words = [f"{name}={_text(name, value)}" for name, value in said.items()]
    except TutelageError:
        return None
    if _is_object(config) or not _reads(said | own, whole):
        return None
    return shlex.join(["tutelage", "train" if train else "distill", *words])


def _reads(keys: Mapping[str, Any], whole: Any) -> bool:
    """Whether these keys make that configuration."""
    from tutelage.config.schema import check

    try:
        return check(keys) == whole
    except TutelageError:  # a key that can't be left out
        return False


def _text(name: str, value: Any) -> str:
    """A value as the command line reads it back, with as little quoting as can be."""
    from tutelage.config.schema import pairs

    flow = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf)
    texts = [value] if isinstance(value, str) and value.isprintable() else []
    texts += [flow.removesuffix("...\n").strip(), json.dumps(value, ensure_ascii=False)]
    found = []
    for text in texts:
        try:
            found += [text] * (pairs([f"{name}={text}"]) == {name: value})
        except TutelageError:  # it isn't YAML
            continue
    if not found:
        raise TutelageError(f"{name}: no word says {value!r}.")
    return min(found, key=lambda text: text.count("'"))


def _is_object(config: Mapping[str, Any]) -> bool:
    """Whether a network or the data was given as an object of Python, which no name finds."""
    from tutelage.data.loading import available

    kinds = {pattern.partition(":")[0] for pattern in available()}
    named = [config.get("student"), config.get("teacher")]
    return str(config.get("data", "digits")).partition(":")[0] not in kinds or any(
        isinstance(name, str) and name.startswith("object:") for name in named
    )
