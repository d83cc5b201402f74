"""Data-distortion guided self-distillation: two augmented views of each sample teach each other.

Paper: Xu, Liu. AAAI 2019. Cross-entropy of both views, T²·KL in both directions at T = 3, and 5·10⁻⁴ times the
distance of means; half of the cross-entropy's mean over views, as in published code.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Put two views of each sample in one batch."""
    return {"scheme": "two_views", "method": [{"name": "ce", "weight": 0.5}, {"name": "ddgsd", "global_mean": True}]}
