"""Densely guided: three assistants between; each network learns from all that are larger, one drawn out at each step.

Paper: Son, Na, Choi, Hwang. ICCV 2021. arXiv:2009.08825. As in the authors' code: T = 5, no cross-entropy, one dropped
teacher where there are several, and divergences that are averaged over classes too and added over the teachers that
remain. The assistants are of the family of the two and of sizes between theirs, such as `resnet32`, `resnet20` and
`resnet14` between `resnet56` and `resnet8`.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import between

NAMES = ("larger", "middle", "smaller")


def recipe(teacher: Any = "cnn32", student: Any = "cnn2", stages: Any = None) -> dict[str, Any]:
    """The weight is the number of teachers that remain, since the term is their mean."""
    before = ["stage:teacher", *(f"stage:{name}" for name in NAMES)]
    if stages:
        return {"method": dense(len(before))}
    assistants = [
        {"name": name, "student": model, "teacher": before[:count], "method": dense(count)}
        for count, (name, model) in enumerate(zip(NAMES, between(teacher, student, len(NAMES)), strict=True), 1)
    ]
    return {"method": dense(len(before)), "stages": [*assistants, {"name": "student", "teacher": before}]}


def dense(teachers: int) -> list[dict[str, Any]]:
    """Of so many teachers."""
    drop = int(teachers > 1)
    term = {"name": "aver", "temperature": 5.0, "drop": drop, "class_mean": True, "task_loss_weight": 0.0}
    return [term | {"weight": float(teachers - drop)}]
