"""KD with logit standardisation: the student doesn't have to match the range of the teacher's logits.

Paper: Sun, Ren, Li, Wang, Cao. CVPR 2024. arXiv:2403.01427: T = 2, weight 9, with cross-entropy at 0.1.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Set the weights of the paper's base setting."""
    return {
        "method": [
            {"name": "ce", "weight": 0.1},
            {"name": "kd", "temperature": {"name": "standardised", "base": 2.0}, "weight": 9.0},
        ]
    }
