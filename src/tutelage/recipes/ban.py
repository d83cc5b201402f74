"""Born-again networks: generations of one network, each taught by the one before.

Paper: Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770. The first learns from the labels,
three more from CE + KL at T = 1.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Four trainings of the student: by the labels, gen1, gen2, and the last."""
    born = {"method": [{"name": "ce"}, {"name": "kd", "temperature": 1.0, "weight": 1.0}]}
    return {
        "stages": [
            {"name": "gen0", "teacher": None, "method": None},
            {"name": "gen1", "teacher": "stage:gen0"},
            {"name": "gen2", "teacher": "stage:gen1"},
        ],
        "teacher": "stage:gen2",
        **born,
    }
