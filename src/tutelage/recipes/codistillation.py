"""Codistillation: peers learn from copies of each other that are up to 50 batches old.

Paper: Anil, Pereyra, Passos, Ormandi, Dahl, Hinton. ICLR 2018. arXiv:1804.03235, with the divergence at T = 1, from the
second epoch on.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Two peers, cross-entropy 1, divergence 1 after an epoch of burning in."""
    method = [{"name": "ce"}, {"name": "kd", "temperature": 1.0, "weight": {"name": "ramp", "begin": 1}}]
    return {"scheme": {"name": "codistillation", "every": 50}, "method": method}
