"""Several teachers, each matched with the same weight: the mean of their losses.

Paper: You, Xu, Xu, Tao. KDD 2017; T = 4 as in the CA-MKD authors' benchmark. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Cross-entropy 1, the mean of the divergences 1."""
    return small(data, teacher) | {"method": [{"name": "aver"}]}
