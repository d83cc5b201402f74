"""The defaults of runs on embedded data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.config.named_parts import OFFLINE, scheme_trait
from tutelage.utils import registry

DIGITS: dict[str, Any] = {"teacher": "cnn32", "student": "cnn2", "epochs": 10, "teacher_epochs": 30, "lr": 0.1}
"""The defaults with data=digits."""

EMBEDDED = {"digits": DIGITS, "digits-tasks": DIGITS | {"teacher": ["cnn8", "cnn8", "cnn8"]}}
"""The defaults with embedded data; with several label columns there is a teacher for each."""


def embedded_defaults(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the embedded data's defaults, without the teacher's if another one or none is set; none for other data."""
    data = str(overrides.get("data", "digits"))
    defaults = DIGITS if data in EMBEDDED and overrides.get("column") else EMBEDDED.get(data, {})
    scheme = overrides.get("scheme", OFFLINE)
    name = str(scheme.get("name") if isinstance(scheme, Mapping) else scheme)
    takes = not registry.is_known("schemes", name) or scheme_trait(name, "takes_teacher")
    without = "teacher" in overrides or not takes
    return {key: value for key, value in defaults.items() if not (without and key.startswith("teacher"))}
