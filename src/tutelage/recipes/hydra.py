"""Hydra: one trunk with a head for each of several teachers, which end as one classifier.

Paper: Tran, Veeling, Roth, et al. 2020. arXiv:2001.04694; linear heads. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """The mean of the heads' divergences from their teachers, alone."""
    return small(data, teacher) | {"scheme": "hydra", "method": [{"name": "hydra"}]}
