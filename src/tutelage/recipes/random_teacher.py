"""One of several teachers, drawn at random for each batch.

Paper: Shen, He, Xue. AAAI 2019. arXiv:1812.02425 (MEAL), here without its discriminators. Name your own:
teacher=[a, b, c]; ensemble=annealed moves from the first to the last instead.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set KD from the drawn teacher."""
    return small_teachers(data, teacher) | {"ensemble": "random", "method": [{"name": "kd"}]}
