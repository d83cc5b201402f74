"""Route constrained: the student follows the teacher's own route, from its early checkpoints to its last.

Paper: Jin, Peng, Wu, Liu, Liu, Liang, Yan, Hu. ICCV 2019. arXiv:1904.09149. Three anchors at equal distances in epochs,
as in the paper's simplest strategy; its greedy search places them by how much the divergence grows.
"""

from __future__ import annotations

from typing import Any


def recipe(epochs: int = 30, teacher_epochs: int | None = None) -> dict[str, Any]:
    """A third of the student's epochs, with a learning rate that falls, for each third of the teacher's."""
    third, route = max(epochs // 3, 1), teacher_epochs or epochs
    anchors = [max(route * k // 3, 1) for k in (1, 2)]
    return {
        "method": "kd",
        "stages": [
            {"name": "early", "teacher": f"stage:teacher@{anchors[0]}", "epochs": third},
            {
                "name": "middle",
                "teacher": f"stage:teacher@{anchors[1]}",
                "student_weights": "stage:early",
                "epochs": third,
            },
            {"name": "student", "student_weights": "stage:middle", "epochs": max(epochs - 2 * third, 1)},
        ],
    }
