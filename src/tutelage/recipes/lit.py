"""Blocks of the student learn from the teacher's features and logits; then the student is fine-tuned by KD.

Paper: Koratana, Kang, Bailis, Zaharia. ICML 2019. arXiv:1810.01937 (LIT). As in the authors' code: a sum of 0.95
times the hard-label loss and 0.05 times the soft-label loss at T = 6; for 175 of 300 epochs β = 0.75 times this sum and
1 − β times the distances, both halved, then the sum alone. There the copied modules stay frozen in the second stage,
and its learning rate begins at a tenth of the first stage's; here the whole student is fine-tuned, at the run's rate.
The stages of student and teacher have equal shapes; on the digits they are `resnet8` and `resnet14`.
"""

from __future__ import annotations

from typing import Any

HARD, TEMPERATURE, BETA = 0.95, 6.0, 0.75
FRACTION = 175 / 300


def recipe(epochs: int = 30, data: str = "digits") -> dict[str, Any]:
    """Train the blocks by LIT, then fine-tune the student."""
    begin = max(round(FRACTION * epochs), 1)
    method = [*response_terms(BETA / 2), {"name": "lit", "weight": (1 - BETA) / 2, "connector": "identity"}]
    blocks = {"scheme": "blockwise", "method": method, "epochs": begin, "keep": "last", "patience": None}
    stages = [
        {"name": "blocks", **blocks},
        {"name": "student", "student_weights": "stage:blocks", "epochs": max(epochs - begin, 1)},
    ]
    pair = {"teacher": "resnet14", "student": "resnet8"} if data == "digits" else {}
    return pair | {"method": response_terms(1.0), "stages": stages}


def response_terms(weight: float) -> list[dict[str, Any]]:
    """Return cross-entropy and KD, whose weights sum to `weight`."""
    return [
        {"name": "ce", "weight": weight * HARD},
        {"name": "kd", "temperature": TEMPERATURE, "weight": weight * (1 - HARD)},
    ]
