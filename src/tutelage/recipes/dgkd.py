"""Densely guided: two assistants between, and each network learns from all that are larger, one drawn out at each step.

Paper: Son, Na, Choi, Hwang. ICCV 2021. arXiv:2009.08825. T = 5, no cross-entropy and one dropped teacher are the
authors' code's; its divergences are added over the teachers that remain. The assistants are of the family of the
two and of sizes between theirs, such as `resnet32` and `resnet14` between `resnet56` and `resnet8`.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import between


def recipe(teacher: Any = "cnn32", student: Any = "cnn2", stages: Any = None) -> dict[str, Any]:
    """The weight is the number of teachers that remain, since the term is their mean."""
    alone = {"name": "kd", "temperature": 5.0, "weight": 1.0, "beside": 0.0}

    def dense(teachers: int) -> list[dict[str, Any]]:
        return [{"name": "aver", "temperature": 5.0, "drop": 1, "weight": teachers - 1.0, "beside": 0.0}]

    if stages:
        return {"method": dense(3)}
    larger, smaller = between(teacher, student, 2)
    before = ["stage:teacher", "stage:larger", "stage:smaller"]
    return {
        "method": dense(3),
        "stages": [
            {"name": "larger", "student": larger, "method": [alone]},
            {"name": "smaller", "student": smaller, "teacher": before[:2], "method": dense(2)},
            {"name": "student", "teacher": before},
        ],
    }
