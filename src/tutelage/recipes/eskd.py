"""Early-stopped teacher: the student learns from the teacher as it was after a third of its training.

Paper: Cho, Hariharan. ICCV 2019. arXiv:1910.01348: a teacher that was stopped early teaches a small student better, and
distillation that is switched off late (here after 0.7 of the epochs) does it less harm.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes.kd_then_ce import switched


def recipe(epochs: int = 30, teacher_epochs: int | None = None) -> dict[str, Any]:
    """KD from the snapshot, then cross-entropy."""
    early = max((teacher_epochs or epochs) // 3, 1)
    return {"method": switched(0.7 * epochs), "stages": [{"name": "student", "teacher": f"stage:teacher@{early}"}]}
