"""Batch knowledge ensembling: what is said of similar samples of the batch, propagated, teaches.

Paper: Ge, Choi, Zhang, Zhu, Zhao, Wang, Li. 2021. arXiv:2104.13298. CE + T²·KL, T = 4, ω = 0.5, three others of
the class beside each sample.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Samples in groups of a class."""
    return {"scheme": {"name": "batch_ensemble", "others": 3}, "method": [{"name": "ce"}, {"name": "bake"}]}
