"""Progressive self-knowledge distillation: the student's predictions from an epoch ago soften the labels.

Paper: Kim, Ji, Yoon, Hwang. ICCV 2021. arXiv:2006.12000. The weight of the past predictions grows to 0.8 over the
training.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train without a teacher; past predictions gradually replace the labels."""
    return {"teacher": None, "method": [{"name": "ps_kd"}]}
