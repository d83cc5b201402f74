"""Batch knowledge ensembling: targets that propagate the predictions of similar samples in the batch.

Paper: Ge, Choi, Zhang, Zhu, Zhao, Wang, Li. 2021. arXiv:2104.13298. CE + T²·KL, T = 4, ω = 0.5, three other
samples of its class accompany each sample.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Set a scheme whose batches group samples by class."""
    return {"scheme": {"name": "batch_ensemble", "others": 3}, "method": [{"name": "ce"}, {"name": "bake"}]}
