"""Collaborative learning, KDCL-General: the mixture of peers with the least error on the validation split teaches.

Paper: Guo, Wang, Wu, Yu, Liang, Hu, Luo. CVPR 2020. T = 2, weight 1.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes import kdcl


def recipe() -> dict[str, Any]:
    """Train like `kdcl`, with another variant of the loss."""
    return kdcl.recipe() | {"method": [{"name": "kdcl", "variant": "general"}]}
