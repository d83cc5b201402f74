"""Annealing KD: targets that grow stepwise to the teacher's logits; then the labels alone.

Paper: Jafari, Rezagholizadeh, Sharma, Ghodsi. EACL 2021. arXiv:2104.07163. Ten steps of equal length, as in the
authors' code, whose phase 1 has 200 epochs, 20 per step; phase 2 continues from its best epoch. That phase 1 takes half
of the epochs is ours.
"""

from __future__ import annotations

from typing import Any

STEPS = 10


def recipe(epochs: int = 30) -> dict[str, Any]:
    """Train half of the epochs on the teacher's logits, without labels, and the rest by cross-entropy."""
    begin = max(epochs // 2, 1)
    steps = {"name": "annealing_kd", "max_temperature": STEPS, "epochs": begin / STEPS}
    return {
        "method": "ce",
        "stages": [
            {"name": "first", "method": [steps], "epochs": begin, "keep": "best", "patience": None},
            {"name": "student", "student_weights": "stage:first", "epochs": max(epochs - begin, 1)},
        ],
    }
