"""Knowledge amalgamation: the student learns a code of all teachers' features and their logits, without labels.

Paper: Shen, Wang, Song, Sun, Song. AAAI 2019. arXiv:1811.02796 (KA), of teachers of different classes; the targets are
their concatenated logits, at T = 1. A teacher that is named as a model is first trained on its part of the classes; run
folders have their own classes: teacher=[a, b].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set weight 1 for the code of each stage, and 1 for the joined logits."""
    method = [{"name": "ka"}, {"name": "kd", "temperature": 1.0, "weight": 1.0, "task_loss_weight": 0.0}]
    return small_teachers(data, teacher, 2) | {"teacher_classes": "parts", "method": method}
