"""Several teachers as one: the student matches the mean of their logits.

Paper: Hinton, Vinyals, Dean. 2015. arXiv:1503.02531 names both means of an ensemble. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """KD from the mean of the logits."""
    return {"teacher": ["cnn8", "cnn8", "cnn8"], "ensemble": "logits", "method": [{"name": "kd"}]}
