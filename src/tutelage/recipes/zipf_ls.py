"""Zipf's label smoothing: the classes other than the true one get shares that fall with their rank.

Paper: Liang, Li, Bi, Zhou. ECCV 2022. arXiv:2207.12980. CE + 0.1 KL.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """No teacher."""
    return {"teacher": None, "method": [{"name": "ce"}, {"name": "zipf_ls"}]}
