"""Common feature learning: student and teachers of different classes share a feature space, without labels.

Paper: Luo, Wang, Fang, Hu, Tao, Song. IJCAI 2019. arXiv:1906.10546 (CFL); the targets are the teachers' concatenated
logits, at T = 1. A teacher that is named as a model is first trained on its part of the classes; run folders have their
own classes: teacher=[a, b].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set weight 10 for common features and their reconstruction, and 1 for the joined logits."""
    method = [{"name": "cfl"}, {"name": "kd", "temperature": 1.0, "weight": 1.0, "task_loss_weight": 0.0}]
    return small_teachers(data, teacher, 2) | {"teacher_classes": "parts", "method": method}
