"""Collaborative learning, KDCL-Linear: the mix of peers that errs least teaches, sample by sample.

Paper: Guo, Wang, Wu, Yu, Liang, Hu, Luo. CVPR 2020. T = 2, weight 1.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes import kdcl


def recipe() -> dict[str, Any]:
    """As `kdcl`, by another ensemble."""
    return kdcl.recipe() | {"method": [{"name": "kdcl", "variant": "linear"}]}
