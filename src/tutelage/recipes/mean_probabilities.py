"""Several teachers as one: the student matches the mean of their probabilities.

Paper: Hinton, Vinyals, Dean. 2015. arXiv:1503.02531 names both means of an ensemble; the probabilities are averaged at
T = 1 and softened afterwards. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """KD from the mean of the probabilities."""
    return {"teacher": ["cnn8", "cnn8", "cnn8"], "ensemble": "probabilities", "method": [{"name": "kd"}]}
