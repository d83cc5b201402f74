"""Teacher annealing: the truth takes the teachers' place step by step; a teacher for each task (data=digits-tasks).

Paper: Clark, Luong, Khandelwal, Manning, Le. ACL 2019. arXiv:1907.04829: the target is λ·y + (1 − λ)·p_t with λ rising
linearly from 0 to 1 over training; the mean over the tasks, there the sum. On data with several label columns, as
`digits-tasks`, one of several teachers teaches each (teacher=[a, b, c]); with one label there is one task.
"""

from __future__ import annotations

from typing import Any


def recipe(epochs: int = 10) -> dict[str, Any]:
    """Cross-entropy λ, divergence 1 − λ at T = 1."""
    rise = {"name": "ramp", "start": 0.0, "end": 1.0, "epochs": epochs}
    fall = {"name": "ramp", "start": 1.0, "end": 0.0, "epochs": epochs}
    return {"method": [{"name": "ce", "weight": rise}, {"name": "kd", "temperature": 1.0, "weight": fall}]}
