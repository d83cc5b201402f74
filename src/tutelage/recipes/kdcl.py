"""Collaborative learning: peers match the least logits of the group, each on augmentations of its own.

Paper: Guo, Wang, Wu, Yu, Liang, Hu, Luo. CVPR 2020. T = 2, weight 1, KDCL-MinLogit.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Two peers and their best answer."""
    return {"scheme": {"name": "together", "own_views": True}, "method": [{"name": "kdcl"}]}
