"""Densely guided: two assistants between, and each network learns from all that are larger, one drawn out at each step.

Paper: Son, Na, Choi, Hwang. ICCV 2021. arXiv:2009.08825. T = 5, no cross-entropy and one dropped teacher are the
authors' code's; its divergences are added over the teachers that remain. The assistants are `cnn16` and `cnn8`, which
fit the digits; name yours on other data.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """The weight is the number of teachers that remain, since the term is their mean."""
    alone = {"name": "kd", "temperature": 5.0, "weight": 1.0, "beside": 0.0}

    def dense(teachers: int) -> list[dict[str, Any]]:
        return [{"name": "aver", "temperature": 5.0, "drop": 1, "weight": teachers - 1.0, "beside": 0.0}]

    before = ["stage:teacher", "stage:larger", "stage:smaller"]
    return {
        "method": dense(3),
        "stages": [
            {"name": "larger", "student": "cnn16", "method": [alone]},
            {"name": "smaller", "student": "cnn8", "teacher": before[:2], "method": dense(2)},
            {"name": "student", "teacher": before},
        ],
    }
