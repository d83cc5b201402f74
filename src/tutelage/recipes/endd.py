"""Ensemble distribution distillation: the student learns how the teachers' opinions are spread, as a Dirichlet.

Paper: Malinin, Mlodozeniec, Gales. ICLR 2020. arXiv:1905.00076. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """The Dirichlet's negative log-density alone."""
    return small(data, teacher) | {"method": [{"name": "endd"}]}
