"""Feature fusion learning: branches and the classifier of their fused last maps teach each other.

Paper: Kim, Hyun, Chung, Kwak. ICPR 2020. arXiv:1904.09058. T = 3; the weight rises over 80 of 300 epochs. For networks
that share nothing: scheme={name: together, ensemble: feature_fusion}.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train two branches, split at the last stage."""
    scheme = {"name": "together", "split": "auto", "ensemble": "feature_fusion", "rise": 80 / 300}
    return {"scheme": scheme, "method": [{"name": "ffl"}]}
