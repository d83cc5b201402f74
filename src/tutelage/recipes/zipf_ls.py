"""Zipf's label smoothing: the classes other than the label get probabilities that fall with their rank.

Paper: Liang, Li, Bi, Zhou. ECCV 2022. arXiv:2207.12980. CE + 0.1 KL, with ranks from the votes of all positions of
the last three stages; 0.5 CE of the classifiers on the two stages before the last, which aren't exported. In the
authors' commands the last stage votes alone: `scheme={name: dense_votes, heads: 0, enlarge: 2}` as on CIFAR-100. With
`scheme=offline` the logits are ranked.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train without a teacher."""
    return {"teacher": None, "scheme": "dense_votes", "method": [{"name": "ce"}, {"name": "zipf_ls"}]}
