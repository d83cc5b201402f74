"""Burges, Shaked, Renshaw, Lazier, Deeds, Hamilton, Hullender: pairwise ranking."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.ranking import lists_of_scores
from tutelage.losses.functional.tokens import scale_to_masked_mean


class RankNet(Response):
    r"""Rank each pair of a list's items in the teacher's order.

    L = log(1 + exp(−(s_i − s_j))), averaged over all pairs of all lists with t_i > t_j.

    Shapes: student, teacher (B, N, …) scores of N items; mask (B, N, …), nonzero for the items that exist; returns
    (B, N, N, …), scaled so that its mean is the mean over those pairs. If each sample is an item, (B,) or (B, 1), and
    groups (B,) are passed, each group is a list; returns (Q, N, N).
    Paper: Burges, Shaked, Renshaw, Lazier, Deeds, Hamilton, Hullender. ICML 2005, with the teacher's scores as
    relevance.
    Raises: ConfigError if the shapes differ.
    """

    name = "ranknet"
    paper = "Burges, Shaked, Renshaw, Lazier, Deeds, Hamilton, Hullender. ICML 2005"
    zero_at_equal = False
    ignores = ("shift of logits",)
    data_dependent_size = True
    response_kinds = ("classes", "scores")

    def forward(
        self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, groups: Tensor | None = None
    ) -> Tensor:
        require_same_shape(self, student, teacher)
        student, teacher, mask = lists_of_scores(student, teacher, mask, groups)
        above = teacher.unsqueeze(2) > teacher.unsqueeze(1)
        if mask is not None:
            above = above & (mask != 0).unsqueeze(2) & (mask != 0).unsqueeze(1)
        return scale_to_masked_mean(F.softplus(student.unsqueeze(1) - student.unsqueeze(2)), above)
