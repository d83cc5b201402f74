"""KD that is switched off late: after 0.7 of the epochs the student goes on from the labels alone.

Paper: Cho, Hariharan. ICCV 2019. arXiv:1910.01348, section 4, where it is the early stop of distillation.
"""

from __future__ import annotations

from typing import Any


def recipe(epochs: int = 30) -> dict[str, Any]:
    """0.9 KD beside 0.1 cross-entropy, then cross-entropy at 1."""
    return {"method": switched(0.7 * epochs)}


def switched(epoch: float) -> list[dict[str, Any]]:
    """The terms: those of KD until this epoch, cross-entropy from then on."""
    return [
        {"name": "ce", "weight": {"name": "ramp", "start": 0.1, "end": 1.0, "begin": epoch}},
        {"name": "kd", "weight": {"name": "ramp", "start": 0.9, "end": 0.0, "begin": epoch}},
    ]
