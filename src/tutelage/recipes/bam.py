"""Teacher annealing: labels gradually replace the teachers; one teacher per task (data=digits-tasks).

Paper: Clark, Luong, Khandelwal, Manning, Le. ACL 2019. arXiv:1907.04829: the target is λ·y + (1 − λ)·p_t with λ rising
linearly from 0 to 1 over training; here the mean over the tasks, in the paper the sum. On data with several label
columns, such as `digits-tasks`, each of several teachers teaches one (teacher=[a, b, c]); one label column is one task.
"""

from __future__ import annotations

from typing import Any


def recipe(epochs: int = 10) -> dict[str, Any]:
    """Set weight λ for cross-entropy, and 1 − λ for the divergence at T = 1."""
    rise = {"name": "ramp", "start": 0.0, "end": 1.0, "epochs": epochs}
    fall = {"name": "ramp", "start": 1.0, "end": 0.0, "epochs": epochs}
    return {"method": [{"name": "ce", "weight": rise}, {"name": "kd", "temperature": 1.0, "weight": fall}]}
