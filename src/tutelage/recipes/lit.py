"""Blocks of the student learn side by side, each from the teacher's block before it; then the whole student, by KD.

Paper: Koratana, Kang, Bailis, Zaharia. ICML 2019. arXiv:1810.01937 (LIT): β = 0.75 of KD, here at its usual weights,
beside 1 − β of the distances. A third of the epochs for the blocks is ours. Student and teacher are alike in their
stages' shapes; the digits have `resnet8` of `resnet14`.
"""

from __future__ import annotations

from typing import Any

BETA = 0.75


def recipe(epochs: int = 30, data: str = "digits") -> dict[str, Any]:
    """The blocks by LIT, then fine-tuning."""
    begin = max(epochs // 3, 1)
    method = [
        {"name": "ce", "weight": 0.1 * BETA},
        {"name": "kd", "weight": 0.9 * BETA},
        {"name": "lit", "connector": "identity"},
    ]
    blocks = {"scheme": "blockwise", "method": method, "epochs": begin, "keep": "last", "patience": None}
    stages = [
        {"name": "blocks", **blocks},
        {"name": "student", "student_weights": "stage:blocks", "epochs": max(epochs - begin, 1)},
    ]
    pair = {"teacher": "resnet14", "student": "resnet8"} if data == "digits" else {}
    return pair | {"method": "kd", "stages": stages}
