"""Zipf's label smoothing: the classes other than the true one get shares that fall with their rank.

Paper: Liang, Li, Bi, Zhou. ECCV 2022. arXiv:2207.12980. CE + 0.1 KL, the ranks those of the votes of all positions of
the last three stages; 0.5 CE of the classifiers on the two before the last, which are left out in the end. The authors'
commands have the last stage alone vote: `scheme={name: dense_votes, heads: 0, enlarge: 2}` as on CIFAR-100. With
`scheme=offline` the answer itself is ranked.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """No teacher."""
    return {"teacher": None, "scheme": "dense_votes", "method": [{"name": "ce"}, {"name": "zipf_ls"}]}
