"""Class-wise self-distillation: the student's own logits for another sample of the class teach it.

Paper: Yun, Park, Lee, Shin. CVPR 2020. arXiv:2003.13964. CE + T²·KL(sg p(x') ‖ p(x)), T = 4.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Pair samples by class, with cross-entropy on the first of each pair."""
    return {
        "scheme": "same_class",
        "method": [{"name": "ce"}, {"name": "kd", "temperature": 4.0, "weight": 1.0}],
    }
