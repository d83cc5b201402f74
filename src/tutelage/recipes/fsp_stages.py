"""Flow between layers in two stages: first how features turn into the next layer's, then the labels.

Paper: Yim, Joo, Bae, Kim. CVPR 2017: the second stage is ordinary training. A 1×1 convolution makes the channels fit,
where the paper has equal ones.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._two_stage import two


def recipe(epochs: int = 30) -> dict[str, Any]:
    """A third of the epochs for the flow, without labels, the rest for cross-entropy."""
    return two(epochs, [{"name": "fsp", "connector": "conv1x1", "task_loss_weight": 0.0}], "ce")
