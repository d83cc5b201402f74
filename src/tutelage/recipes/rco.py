"""Route-constrained KD: the student learns from the teacher's checkpoints, from an early one to the last.

Paper: Jin, Peng, Wu, Liu, Liu, Liang, Yan, Hu. ICCV 2019. arXiv:1904.09149. Three anchors at equal distances in epochs,
as in the paper's simplest strategy; its greedy search places them by the growth of the divergence.
"""

from __future__ import annotations

from typing import Any


def recipe(epochs: int = 30, teacher_epochs: int | None = None) -> dict[str, Any]:
    """Train a third of the student's epochs, with a falling learning rate, per third of the teacher's epochs."""
    stage_epochs, total = max(epochs // 3, 1), teacher_epochs or epochs
    anchors = [max(total * k // 3, 1) for k in (1, 2)]
    return {
        "method": "kd",
        "stages": [
            {"name": "early", "teacher": f"stage:teacher@{anchors[0]}", "epochs": stage_epochs},
            {
                "name": "middle",
                "teacher": f"stage:teacher@{anchors[1]}",
                "student_weights": "stage:early",
                "epochs": stage_epochs,
            },
            {"name": "student", "student_weights": "stage:middle", "epochs": max(epochs - 2 * stage_epochs, 1)},
        ],
    }
