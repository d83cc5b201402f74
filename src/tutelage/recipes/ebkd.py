"""Several teachers, sample by sample weighted by how sure they are.

Paper: Kwon, Na, Lee, Kim. ICASSP 2020; T = 4 as in the CA-MKD authors' benchmark. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Cross-entropy 1, the weighted divergences 1."""
    return small(data, teacher) | {"method": [{"name": "ebkd"}]}
