"""Born-again networks: generations of one network, each taught by the one before.

Paper: Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770. The first learns from the labels
(it is the student alone, where that is trained), three more from CE + KL at T = 1.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any


def recipe(baseline: bool = True) -> dict[str, Any]:
    """Four trainings of the student: by the labels, gen1, gen2, and the last."""
    return generations([{"name": "ce"}, {"name": "kd", "temperature": 1.0, "weight": 1.0}], baseline)


def generations(method: list[dict[str, Any]], baseline: bool) -> dict[str, Any]:
    """Generation after generation by a method; the first by the labels."""
    names = ["alone" if baseline else "gen0", "gen1", "gen2", "student"]
    born = [{"name": name, "teacher": f"stage:{before}", "method": method} for before, name in pairwise(names)]
    return {"teacher": None, "method": None, "stages": born if baseline else [{"name": "gen0"}, *born]}
