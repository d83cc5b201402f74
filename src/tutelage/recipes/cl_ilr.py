"""Collaborative learning: heads on a trunk teach each other; the trunk gets the mean of their gradients.

Paper: Song, Chai. NeurIPS 2018. arXiv:1805.11761. Cross-entropy and divergence at weight ½ each, T = 2.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train four heads, split at the last stage."""
    return {
        "peers": 4,
        "scheme": {"name": "together", "split": "auto", "scale_gradient": True},
        "method": [{"name": "ce", "weight": 0.5}, {"name": "kd", "temperature": 2.0, "weight": 0.5}],
    }
