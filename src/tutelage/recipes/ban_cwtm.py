"""Born-again networks with samples weighted by the previous generation's confidence, its largest probability.

Paper: Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770 (CWTM).
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes import ban


def recipe(baseline: bool = True) -> dict[str, Any]:
    """Train the generations of `ban` by weighted cross-entropy."""
    return ban.generations([{"name": "ce", "samples": {"name": "confidence"}}], baseline)
