"""Early-stopped teacher: the student learns from the teacher's checkpoint after a third of its training.

Paper: Cho, Hariharan. ICCV 2019. arXiv:1910.01348: an early-stopped teacher teaches a small student better, and
distillation that stops late in training (here after 0.7 of the epochs) harms the student less.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes.kd_then_ce import switched_terms


def recipe(epochs: int = 30, teacher_epochs: int | None = None) -> dict[str, Any]:
    """Train by KD from the checkpoint, then by cross-entropy."""
    early = max((teacher_epochs or epochs) // 3, 1)
    return {
        "method": switched_terms(0.7 * epochs),
        "stages": [{"name": "student", "teacher": f"stage:teacher@{early}"}],
    }
