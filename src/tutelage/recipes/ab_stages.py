"""Activation boundaries in two stages: first the neurons on the teacher's side of their boundaries, then KD.

Paper: Heo, Lee, Yun, Choi. AAAI 2019. arXiv:1811.03233: the boundaries are the student's initialisation.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._two_stage import two


def recipe(epochs: int = 30) -> dict[str, Any]:
    """A third of the epochs for the boundaries, without labels, the rest for KD."""
    return two(epochs, [{"name": "ab", "task_loss_weight": 0.0}])
