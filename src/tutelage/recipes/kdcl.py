"""Collaborative learning: peers match the minimum logits of the group, each on its own augmentations.

Paper: Guo, Wang, Wu, Yu, Liang, Hu, Luo. CVPR 2020. T = 2, weight 1, KDCL-MinLogit.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train two peers on the minimum logits of both."""
    return {"scheme": {"name": "together", "own_views": True}, "method": [{"name": "kdcl"}]}
