"""An ensemble of teachers: the student matches the mean of their logits.

Paper: Hinton, Vinyals, Dean. 2015. arXiv:1503.02531 names both means of an ensemble. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set KD from the mean of the logits."""
    return small_teachers(data, teacher) | {"ensemble": "logits", "method": [{"name": "kd"}]}
