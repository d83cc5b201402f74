"""Several teachers, weighted per sample by their cross-entropy, for logits and for features.

Paper: Zhang, Chen, Wang. ICASSP 2022. arXiv:2201.00007: T = 4, features 50, from the student's last stage through a
connector for each teacher, weighted by the cross-entropy of each teacher's classifier on it. Name your own: teacher=[a,
b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set weight 1 for cross-entropy and logits, and 50 for features."""
    return small_teachers(data, teacher) | {"method": [{"name": "camkd"}, {"name": "camkd_feature"}]}
