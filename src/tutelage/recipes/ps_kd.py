"""Progressive self-knowledge distillation: what the student said of each sample an epoch ago softens its label.

Paper: Kim, Ji, Yoon, Hwang. ICCV 2021. arXiv:2006.12000. The share of the past grows to 0.8 over the training.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """No teacher; the past in place of the label, more and more."""
    return {"teacher": None, "method": [{"name": "ps_kd"}]}
