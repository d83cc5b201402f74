"""Densely guided KD: three assistants; each network learns from all larger ones, one of them dropped at each step.

Paper: Son, Na, Choi, Hwang. ICCV 2021. arXiv:2009.08825. As in the authors' code: T = 5, no cross-entropy, one dropped
teacher if there are several, and divergences that are averaged over classes as well and summed over the remaining
teachers. The assistants belong to the family of teacher and student with sizes between theirs, such as `resnet32`,
`resnet20` and `resnet14` between `resnet56` and `resnet8`.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import assistants_between

NAMES = ("larger", "middle", "smaller")


def recipe(teacher: Any = "cnn32", student: Any = "cnn2", stages: Any = None) -> dict[str, Any]:
    """Train the assistants from the largest down, then the student."""
    teachers = ["stage:teacher", *(f"stage:{name}" for name in NAMES)]
    if stages:
        return {"method": averaged_terms(len(teachers))}
    assistants = [
        {"name": name, "student": model, "teacher": teachers[:count], "method": averaged_terms(count)}
        for count, (name, model) in enumerate(
            zip(NAMES, assistants_between(teacher, student, len(NAMES)), strict=True), 1
        )
    ]
    return {"method": averaged_terms(len(teachers)), "stages": [*assistants, {"name": "student", "teacher": teachers}]}


def averaged_terms(count: int) -> list[dict[str, Any]]:
    """Return the terms for `count` teachers; the term is a mean over those that remain, hence its weight."""
    drop = int(count > 1)
    term = {"name": "aver", "temperature": 5.0, "drop": drop, "class_mean": True, "task_loss_weight": 0.0}
    return [term | {"weight": float(count - drop)}]
