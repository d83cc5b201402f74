"""Universal self-knowledge distillation: soft labels from the student's confidence, ranks and a weak classifier.

Paper: Yang, Zeng, Li, Zhang, Yuan, Li. ICCV 2023. arXiv:2303.13005. α = 1, β = 0.1, μ = 0.005; it
replaces the cross-entropy.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Put the weak classifier on the stage before the last."""
    return {"scheme": "middle_feature", "method": [{"name": "uskd"}]}
