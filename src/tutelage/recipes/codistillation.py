"""Codistillation: peers learn from copies of each other that are up to 50 batches old.

Paper: Anil, Pereyra, Passos, Ormandi, Dahl, Hinton. ICLR 2018. arXiv:1804.03235, with the divergence at T = 1, from the
second epoch on.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train two peers with cross-entropy 1, and divergence 1 after one epoch of burn-in."""
    method = [{"name": "ce"}, {"name": "kd", "temperature": 1.0, "weight": {"name": "ramp", "begin": 1}}]
    return {"scheme": {"name": "codistillation", "every": 50}, "method": method}
