"""Adversarial mutual learning: peers teach each other, and critics of their last maps tell them apart.

Paper: Chung, Park, Kim, Kwak. ICML 2020. arXiv:2002.01775 (AFD). CE, the divergence at T = 3, and 0.1 times what the
critics hold against a peer, for which the paper has a lower learning rate; 0.1 did best of 1, 0.1 and 0.01 on the
digits.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Two peers and two critics, which aren't kept."""
    method = [{"name": "ce"}, {"name": "kd", "temperature": 3.0, "weight": 1.0}]
    return {"scheme": "mutual_adversarial", "method": method}
