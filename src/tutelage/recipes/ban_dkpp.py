"""Born-again networks whose teachers keep only their first class's probability: the others are permuted.

Paper: Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770 (DKPP), beside the cross-entropy.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes import ban


def recipe(baseline: bool = True) -> dict[str, Any]:
    """The generations of `ban`, by permuted answers."""
    return ban.generations([{"name": "ce"}, {"name": "dkpp"}], baseline)
