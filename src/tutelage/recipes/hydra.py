"""Hydra: one trunk with a head for each of several teachers; the heads are finally merged into one classifier.

Paper: Tran, Veeling, Roth, et al. 2020. arXiv:2001.04694; linear heads. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set the mean of the heads' divergences from their teachers as the only term."""
    return small_teachers(data, teacher) | {"scheme": "hydra", "method": [{"name": "hydra"}]}
