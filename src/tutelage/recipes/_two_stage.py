"""What recipes of two stages share."""

from __future__ import annotations

from typing import Any


def two(epochs: int, first: Any, then: Any = "kd") -> dict[str, Any]:
    """A third of the epochs by one method, without a look at the validation split, the rest by another."""
    begin = max(epochs // 3, 1)
    return {
        "method": then,
        "stages": [
            {"name": "first", "method": first, "epochs": begin, "keep": "last", "patience": None},
            {"name": "student", "student_weights": "stage:first", "epochs": max(epochs - begin, 1)},
        ],
    }
