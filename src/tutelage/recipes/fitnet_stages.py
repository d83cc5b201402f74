"""FitNets in two stages: first a hint for the student's middle layer, without labels, then KD.

Paper: Romero, Ballas, Kahou, Chassang, Gatta, Bengio. ICLR 2015. arXiv:1412.6550, section 2.2.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._two_stage import two_stages


def recipe(epochs: int = 30) -> dict[str, Any]:
    """Train a third of the epochs on the hint, half the mean squared error (the paper's eq. 3), and the rest by KD."""
    return two_stages(epochs, [{"name": "fitnet", "weight": 0.5, "task_loss_weight": 0.0}])
