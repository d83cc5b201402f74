"""Peer collaborative learning: branches learn from a classifier of all their features and from the peers' averages.

Paper: Wu, Gong. AAAI 2021. arXiv:2006.04147. T = 3; the weights rise over 80 of 300 epochs; averages of decay 0.999.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train three branches, split at the last stage, each on its own augmentations."""
    scheme = {"name": "together", "split": "auto", "ensemble": "fusion", "rise": 80 / 300}
    return {
        "peers": 3,
        "scheme": scheme | {"own_views": True, "average": 0.999},
        "method": [{"name": "one"}, {"name": "kd", "temperature": 3.0, "weight": 1.0}],
    }
