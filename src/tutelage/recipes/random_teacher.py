"""One of several teachers, drawn anew for each batch.

Paper: Shen, He, Xue. AAAI 2019. arXiv:1812.02425 (MEAL), here without its discriminators. Name your own:
teacher=[a, b, c]; ensemble=annealed moves from the first to the last instead.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """KD from the drawn teacher."""
    return small(data, teacher) | {"ensemble": "random", "method": [{"name": "kd"}]}
