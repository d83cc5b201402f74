"""Several teachers, sample by sample weighted by how right they are, in their answers and in their features.

Paper: Zhang, Chen, Wang. ICASSP 2022. arXiv:2201.00007: T = 4, features 50, from the student's last stage through a
connector for each teacher, weighted by how right each one's classifier reads it. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Cross-entropy 1, answers 1, features 50."""
    return small(data, teacher) | {"method": [{"name": "camkd"}, {"name": "camkd_feature"}]}
