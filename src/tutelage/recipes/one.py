"""On-the-fly native ensemble: three branches of one network learn from their gated ensemble; one is exported.

Paper: Lan, Zhu, Gong. NeurIPS 2018. arXiv:1806.04606. T = 3; the ensemble's weight rises over 80 of 300 epochs.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train three branches, split at the last stage."""
    scheme = {"name": "together", "split": "auto", "ensemble": "gate", "rise": 80 / 300}
    return {"peers": 3, "scheme": scheme, "method": [{"name": "one"}]}
