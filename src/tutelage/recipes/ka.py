"""Knowledge amalgamation: the student learns a code of all teachers' features and their logits, without labels.

Paper: Shen, Wang, Song, Sun, Song. AAAI 2019. arXiv:1811.02796 (KA), of teachers of different classes; the answer is
their logits side by side, at T = 1. A teacher named here first learns its share of the classes; run folders know their
own: teacher=[a, b].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """The code of each stage 1, the joined answer 1."""
    method = [{"name": "ka"}, {"name": "kd", "temperature": 1.0, "weight": 1.0, "task_loss_weight": 0.0}]
    return small(data, teacher, 2) | {"teacher_classes": "parts", "method": method}
