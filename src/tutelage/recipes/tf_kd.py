"""Teacher-free distillation by a virtual teacher: right with probability 0.99, all other classes alike.

Paper: Yuan, Tay, Li, Wang, Feng. CVPR 2020. arXiv:1909.11723 (Tf-KD_reg). 0.9 CE + 0.1 KL, T = 20, in the form
of the authors' code, whose multiplier of 100 undoes its mean over the 100 classes.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """A teacher made of the label."""
    return {
        "teacher": None,
        "method": [{"name": "ce", "weight": 0.9}, {"name": "tf_kd_reg", "weight": 0.1, "of_probabilities": True}],
    }
