"""Factor transfer in two stages: first a paraphraser of the teacher's last feature, then the student with a translator.

Paper: Kim, Park, Kwak. NeurIPS 2018. arXiv:1802.04977: half of the channels, weight 500 on the mean distance as in the
authors' code. How long the paraphraser is trained is ours.
"""

from __future__ import annotations

from typing import Any


def recipe(epochs: int = 30) -> dict[str, Any]:
    """A third as many epochs for the paraphraser, without the student; then the student's own."""
    waiting = {"scheme": "without_student", "method": [{"name": "ft", "trains": "paraphraser"}]}
    return {
        "method": [{"name": "ft", "trains": "translator"}],
        "stages": [
            {"name": "paraphraser", **waiting, "epochs": max(epochs // 3, 1), "keep": "last", "patience": None},
            {"name": "student", "term_weights": "stage:paraphraser"},
        ],
    }
