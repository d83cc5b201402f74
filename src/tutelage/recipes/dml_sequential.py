"""Deep mutual learning in turns: each peer learns from the others' logits after their update, as in algorithm 1.

Paper: Zhang, Xiang, Hospedales, Lu. CVPR 2018. arXiv:1706.00384. L_i = CE + KL(p_j ‖ p_i) at T = 1.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes import dml


def recipe() -> dict[str, Any]:
    """Train like `dml`, but update the peers one after the other."""
    return dml.recipe() | {"scheme": {"name": "mutual", "sequential": True}}
