"""Several teachers; a policy trained by reinforcement learning selects some of them for each sample.

Paper: Yuan, Shou, Pei, Lin, Gong, Fu, Jiang. AAAI 2021. arXiv:2012.06048 (RL-MTKD); T = 4 as in other losses with
several teachers. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set weight 1 for cross-entropy, and for the mean divergence from the selected teachers."""
    return small_teachers(data, teacher) | {"method": [{"name": "rl_mtkd"}]}
