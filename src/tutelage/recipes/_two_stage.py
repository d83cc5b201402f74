"""The configuration of recipes with two stages."""

from __future__ import annotations

from typing import Any


def two_stages(epochs: int, first: Any, second: Any = "kd") -> dict[str, Any]:
    """Train a third of the epochs by one method, without use of the validation split, and the rest by another."""
    begin = max(epochs // 3, 1)
    return {
        "method": second,
        "stages": [
            {"name": "first", "method": first, "epochs": begin, "keep": "last", "patience": None},
            {"name": "student", "student_weights": "stage:first", "epochs": max(epochs - begin, 1)},
        ],
    }
