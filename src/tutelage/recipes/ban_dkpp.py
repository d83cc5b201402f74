"""Born-again networks whose teachers' probabilities are permuted, except the largest.

Paper: Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770 (DKPP), in addition to
cross-entropy.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes import ban


def recipe(baseline: bool = True) -> dict[str, Any]:
    """Train the generations of `ban` by permuted probabilities."""
    return ban.generations([{"name": "ce"}, {"name": "dkpp"}], baseline)
