"""Flow between layers in two stages: first the relation between consecutive layers (FSP matrices), then the labels.

Paper: Yim, Joo, Bae, Kim. CVPR 2017: the second stage is ordinary training. A 1×1 convolution matches the
channels, which are equal in the paper.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._two_stage import two_stages


def recipe(epochs: int = 30) -> dict[str, Any]:
    """Train a third of the epochs on the flow, without labels, and the rest by cross-entropy."""
    return two_stages(epochs, [{"name": "fsp", "connector": "conv1x1", "task_loss_weight": 0.0}], "ce")
