"""Teachers of different classes: the student, spread over each one's classes, learns what it says, without labels.

Paper: Vongkulbhisal, Vinayavekhin, Visentini-Scarzanella. CVPR 2019. arXiv:1904.06062 (UHC), its cross-entropy,
at T = 1, which did best of 1, 2 and 4 on the digits.
A teacher named here first learns its share of the classes; run folders know their own: teacher=[a, b].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """The cross-entropies alone."""
    return small(data, teacher, 2) | {"teacher_classes": "parts", "method": [{"name": "uhc"}]}
