"""Born-again networks: generations of one network, each taught by the previous one.

Paper: Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770. The first learns from the labels
(it is the baseline, if that is trained), three more from CE + KL at T = 1.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any


def recipe(baseline: bool = True) -> dict[str, Any]:
    """Train the student four times: on the labels, as gen1, as gen2, and as the final student."""
    return generations([{"name": "ce"}, {"name": "kd", "temperature": 1.0, "weight": 1.0}], baseline)


def generations(method: list[dict[str, Any]], baseline: bool) -> dict[str, Any]:
    """Return keys with one stage per generation, trained by a method; the first generation learns from the labels."""
    names = ["baseline" if baseline else "gen0", "gen1", "gen2", "student"]
    later = [{"name": name, "teacher": f"stage:{before}", "method": method} for before, name in pairwise(names)]
    return {"teacher": None, "method": None, "stages": later if baseline else [{"name": "gen0"}, *later]}
