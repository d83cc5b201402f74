"""Activation boundaries in two stages: first match which neurons are active, then KD.

Paper: Heo, Lee, Yun, Choi. AAAI 2019. arXiv:1811.03233: the boundaries are the student's initialisation.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._two_stage import two_stages


def recipe(epochs: int = 30) -> dict[str, Any]:
    """Train a third of the epochs on the boundaries, without labels, and the rest by KD."""
    return two_stages(epochs, [{"name": "ab", "task_loss_weight": 0.0}])
