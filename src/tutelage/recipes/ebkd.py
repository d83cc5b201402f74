"""Several teachers, weighted per sample by their confidence.

Paper: Kwon, Na, Lee, Kim. ICASSP 2020; T = 4 as in the CA-MKD authors' benchmark. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set weight 1 for cross-entropy and for the weighted divergences."""
    return small_teachers(data, teacher) | {"method": [{"name": "ebkd"}]}
