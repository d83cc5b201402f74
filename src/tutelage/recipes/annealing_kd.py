"""Annealing KD: logits that grow to the teacher's, step by step; then the labels alone.

Paper: Jafari, Rezagholizadeh, Sharma, Ghodsi. EACL 2021. arXiv:2104.07163. Ten steps of one length, as in the authors'
code, whose phase 1 has 200 epochs and so 20 a step; phase 2 goes on from its best. Half of the epochs for it is ours.
"""

from __future__ import annotations

from typing import Any

STEPS = 10


def recipe(epochs: int = 30) -> dict[str, Any]:
    """Half of the epochs towards the teacher's logits, without labels, the rest for cross-entropy."""
    begin = max(epochs // 2, 1)
    steps = {"name": "annealing_kd", "max_temperature": STEPS, "epochs": begin / STEPS}
    return {
        "method": "ce",
        "stages": [
            {"name": "first", "method": [steps], "epochs": begin, "keep": "best", "patience": None},
            {"name": "student", "student_weights": "stage:first", "epochs": max(epochs - begin, 1)},
        ],
    }
