"""Blocks of the student learn from the teacher's blocks before them and from its answers; then the student by KD alone.

Paper: Koratana, Kang, Bailis, Zaharia. ICML 2019. arXiv:1810.01937 (LIT). As in the authors' code: 0.95 of the hard
labels and 0.05 of the soft ones at T = 6; of this β = 0.75 and of the distances 1 − β, both halved, for 175 of 300
epochs, then this alone. There what was copied from the teacher stays as it is in the end too, and the learning rate
begins at a tenth of the first one's; here the whole student is fine-tuned, at the run's rate. Student and teacher are
alike in their stages' shapes; the digits have `resnet8` of `resnet14`.
"""

from __future__ import annotations

from typing import Any

HARD, TEMPERATURE, BETA = 0.95, 6.0, 0.75
SHARE = 175 / 300


def recipe(epochs: int = 30, data: str = "digits") -> dict[str, Any]:
    """The blocks by LIT, then fine-tuning."""
    begin = max(round(SHARE * epochs), 1)
    method = [*answers(BETA / 2), {"name": "lit", "weight": (1 - BETA) / 2, "connector": "identity"}]
    blocks = {"scheme": "blockwise", "method": method, "epochs": begin, "keep": "last", "patience": None}
    stages = [
        {"name": "blocks", **blocks},
        {"name": "student", "student_weights": "stage:blocks", "epochs": max(epochs - begin, 1)},
    ]
    pair = {"teacher": "resnet14", "student": "resnet8"} if data == "digits" else {}
    return pair | {"method": answers(1.0), "stages": stages}


def answers(weight: float) -> list[dict[str, Any]]:
    """Cross-entropy and KD."""
    return [
        {"name": "ce", "weight": weight * HARD},
        {"name": "kd", "temperature": TEMPERATURE, "weight": weight * (1 - HARD)},
    ]
