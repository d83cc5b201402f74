"""Chen, Wang, Zhang: the ranking of each sample's neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.losses.base import Relation
from tutelage.losses.functional.pairwise import squared_distances
from tutelage.losses.functional.ranking import log_sum_of_remaining, sort_by_teacher
from tutelage.utils.options import Positive, SmallCount


class HardDarkRank(Relation):
    r"""Rank each sample's nearest neighbours as the teacher does (the likelihood of a permutation, ListMLE).

    S_ij = −α·‖x_i − x_j‖^β; π the n samples nearest to i for the teacher, nearest first;
    L_i = −Σ_k (S(s)_iπ_k − log Σ_{l≥k} exp S(s)_iπ_l).

    Shapes: student (B, …), teacher (B, …), flattened; returns (B,). Smaller batches rank the B − 1 other samples.
    Paper: Chen, Wang, Zhang. AAAI 2018. arXiv:1707.01220, the hard transfer, with its α = β = 3.
    Raises: ConfigError if an option isn't above 0.
    """

    name = "hard_darkrank"
    paper = "Chen, Wang, Zhang. AAAI 2018. arXiv:1707.01220"
    flattens = True
    zero_at_equal = False
    ignores = ("translation", "rotation")

    alpha: Positive = 3.0
    beta: Positive = 3.0
    permute_len: SmallCount = 4

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        itself = torch.eye(len(teacher), dtype=torch.bool, device=teacher.device)
        teacher_scores = self.score(teacher).masked_fill(itself, -torch.inf)
        ranked = sort_by_teacher(self.score(student), teacher_scores)[:, : min(self.permute_len, len(teacher) - 1)]
        return (log_sum_of_remaining(ranked) - ranked).sum(1)

    def score(self, x: Tensor) -> Tensor:
        """The similarity scores S: (B, D) → (B, B)."""
        itself = torch.eye(len(x), dtype=x.dtype, device=x.device)
        return -self.alpha * (squared_distances(x) + itself) ** (self.beta / 2)
