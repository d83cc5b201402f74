"""Teachers of different classes: the student learns all of them from the teachers' logits side by side, without labels.

Paper: Hinton, Vinyals, Dean. NIPS-W 2014. arXiv:1503.02531, with the joined answers as those of one teacher. A teacher
named here first learns its share of the classes; run folders know their own: teacher=[a, b].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """The divergence from the joined answer alone."""
    return small(data, teacher, 2) | {
        "teacher_classes": "parts",
        "method": [{"name": "kd", "weight": 1.0, "task_loss_weight": 0.0}],
    }
