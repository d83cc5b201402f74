"""Teacher annealing: the truth takes the teacher's place step by step.

Paper: Clark, Luong, Khandelwal, Manning, Le. ACL 2019. arXiv:1907.04829: the target is λ·y + (1 − λ)·p_t with λ rising
linearly from 0 to 1, here within 10 epochs. There each task has its own teacher.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Cross-entropy λ, divergence 1 − λ at T = 1."""
    return {
        "method": [
            {"name": "ce", "weight": {"name": "ramp", "start": 0.0, "end": 1.0, "epochs": 10}},
            {"name": "kd", "temperature": 1.0, "weight": {"name": "ramp", "start": 1.0, "end": 0.0, "epochs": 10}},
        ]
    }
