"""Mean teacher: the student's own moving average teaches it.

Paper: Tarvainen, Valpola. NeurIPS 2017. arXiv:1703.01780, here on labelled data and with the divergence at T = 1.
"""

from __future__ import annotations

from typing import Any


def recipe(epochs: int = 30) -> dict[str, Any]:
    """Set weight 1 for cross-entropy, and for the divergence after a warm-up of 5 epochs; the decay is 0.99."""
    return {
        "teacher": "moving_average",
        "method": [{"name": "ce"}, {"name": "kd", "temperature": 1.0, "weight": 1.0, "warmup": min(epochs, 5)}],
    }
