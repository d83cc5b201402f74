"""Factor transfer in two stages: first a paraphraser of the teacher's last feature, then the student with a translator.

Paper: Kim, Park, Kwak. NeurIPS 2018. arXiv:1802.04977: half of the channels, weight 500 on the mean distance as in the
authors' code. The number of epochs of the paraphraser is ours.
"""

from __future__ import annotations

from typing import Any


def recipe(epochs: int = 30) -> dict[str, Any]:
    """Train the paraphraser for a third of the student's epochs, then the student for all of its epochs."""
    pretraining = {"scheme": "without_student", "method": [{"name": "ft", "trains": "paraphraser"}]}
    return {
        "method": [{"name": "ft", "trains": "translator"}],
        "stages": [
            {"name": "paraphraser", **pretraining, "epochs": max(epochs // 3, 1), "keep": "last", "patience": None},
            {"name": "student", "term_weights": "stage:paraphraser"},
        ],
    }
