"""Collaborative learning: heads on a trunk, which takes their gradients' mean, learn from the other heads.

Paper: Song, Chai. NeurIPS 2018. arXiv:1805.11761. Cross-entropy and divergence by halves, T = 2.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Four heads from the last stage on."""
    return {
        "peers": 4,
        "scheme": {"name": "together", "split": "auto", "scale_gradient": True},
        "method": [{"name": "ce", "weight": 0.5}, {"name": "kd", "temperature": 2.0, "weight": 0.5}],
    }
