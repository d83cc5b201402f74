"""Self-distillation from the last mini-batch: the student's logits from one step ago teach it on half of the samples.

Paper: Shen, Xu, Yang, Li, Guo. CVPR 2022. arXiv:2203.16172. CE + T²·KL(sg p_before ‖ p) on the repeated half, T = 3.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Set a scheme whose batches overlap by half."""
    return {
        "scheme": "last_batch",
        "method": [{"name": "ce"}, {"name": "kd", "temperature": 3.0, "weight": 1.0}],
    }
