"""Adversarial mutual learning: peers teach each other, and critics discriminate their last maps.

Paper: Chung, Park, Kim, Kwak. ICML 2020. arXiv:2002.01775 (AFD). CE, the divergence at T = 3, and 0.1 times the
adversarial loss, for which the paper has a lower learning rate instead; of 1, 0.1 and 0.01, 0.1 was best on the digits.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train two peers and two critics, which aren't exported."""
    method = [{"name": "ce"}, {"name": "kd", "temperature": 3.0, "weight": 1.0}]
    return {"scheme": "mutual_adversarial", "method": method}
