"""Teachers of different classes: the student learns from their concatenated logits, without labels.

Paper: Hinton, Vinyals, Dean. NIPS-W 2014. arXiv:1503.02531, with the joined logits as those of one teacher. A teacher
that is named as a model is first trained on its part of the classes; run folders have their own classes:
teacher=[a, b].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set the divergence from the joined logits as the only term."""
    return small_teachers(data, teacher, 2) | {
        "teacher_classes": "parts",
        "method": [{"name": "kd", "weight": 1.0, "task_loss_weight": 0.0}],
    }
