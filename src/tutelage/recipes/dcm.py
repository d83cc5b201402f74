"""Dense cross-layer mutual distillation: classifiers at several depths of two peers all teach each other.

Paper: Yao, Sun. ECCV 2020. arXiv:2008.07816. Every classifier's CE and its divergences from all classifiers of the
other peer, each with weight 1, T = 1.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train two peers with classifiers on all stages; only the last is exported."""
    return {"scheme": "cross_layer", "method": [{"name": "dcm"}]}
