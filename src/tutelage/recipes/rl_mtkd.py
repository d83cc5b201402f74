"""Several teachers, of which a policy learned by reinforcement draws some for each sample.

Paper: Yuan, Shou, Pei, Lin, Gong, Fu, Jiang. AAAI 2021. arXiv:2012.06048 (RL-MTKD); T = 4 as for other losses of
several teachers. Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Cross-entropy 1, the drawn teachers' mean divergence 1."""
    return small(data, teacher) | {"method": [{"name": "rl_mtkd"}]}
