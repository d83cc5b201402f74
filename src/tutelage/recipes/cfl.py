"""Common feature learning: student and teachers of different classes meet in a shared space, without labels.

Paper: Luo, Wang, Fang, Hu, Tao, Song. IJCAI 2019. arXiv:1906.10546 (CFL); the answer is the teachers' logits side by
side, at T = 1. A teacher named here first learns its share of the classes; run folders know their own:
teacher=[a, b].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Common features and their reconstruction 10, the joined answer 1."""
    method = [{"name": "cfl"}, {"name": "kd", "temperature": 1.0, "weight": 1.0, "task_loss_weight": 0.0}]
    return small(data, teacher, 2) | {"teacher_classes": "parts", "method": method}
