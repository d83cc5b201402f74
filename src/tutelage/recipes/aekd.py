"""Several teachers at the weights that pull in a direction they agree on.

Paper: Du, You, Li, Wu, Wang, Qian, Zhang. NeurIPS 2020. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Cross-entropy 1, the weighted divergences 1."""
    return small(data, teacher) | {"method": [{"name": "aekd"}]}
