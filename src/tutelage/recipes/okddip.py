"""Online distillation with diverse peers: three branches attend to each other, and teach a leader, which is exported.

Paper: Chen, Mei, Wang, Feng, Chen. AAAI 2020. arXiv:1912.00350. T = 3; the weight rises over 80 of 300 epochs.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train a leader and three peers, split at the last stage."""
    scheme = {"name": "together", "split": "auto", "ensemble": "attention", "rise": 80 / 300}
    return {"peers": 4, "scheme": scheme, "method": [{"name": "okddip"}]}
