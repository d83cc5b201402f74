"""KD that stops late in training: after 0.7 of the epochs the student learns from the labels alone.

Paper: Cho, Hariharan. ICCV 2019. arXiv:1910.01348, section 4, which calls it early stopping of distillation.
"""

from __future__ import annotations

from typing import Any


def recipe(epochs: int = 30) -> dict[str, Any]:
    """Train by 0.9 KD and 0.1 cross-entropy, then by cross-entropy at weight 1."""
    return {"method": switched_terms(0.7 * epochs)}


def switched_terms(epoch: float) -> list[dict[str, Any]]:
    """Return the terms: those of KD until this epoch, and cross-entropy from then on."""
    return [
        {"name": "ce", "weight": {"name": "ramp", "start": 0.1, "end": 1.0, "begin": epoch}},
        {"name": "kd", "weight": {"name": "ramp", "start": 0.9, "end": 0.0, "begin": epoch}},
    ]
