"""Ensemble distribution distillation: the student learns the distribution of the teachers' predictions, as a Dirichlet.

Paper: Malinin, Mlodozeniec, Gales. ICLR 2020. arXiv:1905.00076. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set the Dirichlet's negative log-density as the only term."""
    return small_teachers(data, teacher) | {"method": [{"name": "endd"}]}
