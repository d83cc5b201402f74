"""Teachers of different classes: the student, restricted to each teacher's classes, learns from it, without labels.

Paper: Vongkulbhisal, Vinayavekhin, Visentini-Scarzanella. CVPR 2019. arXiv:1904.06062 (UHC), its cross-entropy,
at T = 1, which was best of 1, 2 and 4 on the digits.
A teacher that is named as a model is first trained on its part of the classes; run folders have their own classes:
teacher=[a, b].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set the cross-entropies as the only term."""
    return small_teachers(data, teacher, 2) | {"teacher_classes": "parts", "method": [{"name": "uhc"}]}
