"""Several teachers, weighted so that their gradients agree on a common descent direction.

Paper: Du, You, Li, Wu, Wang, Qian, Zhang. NeurIPS 2020. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set weight 1 for cross-entropy and for the weighted divergences."""
    return small_teachers(data, teacher) | {"method": [{"name": "aekd"}]}
