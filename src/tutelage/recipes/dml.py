"""Deep mutual learning: two peers teach each other from the start.

Paper: Zhang, Xiang, Hospedales, Lu. CVPR 2018. arXiv:1706.00384. L_i = CE + KL(p_j ‖ p_i) at T = 1.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train two peers with cross-entropy 1 and divergence 1 at temperature 1."""
    return {"scheme": "mutual", "method": [{"name": "ce"}, {"name": "kd", "temperature": 1.0, "weight": 1.0}]}
