"""Kang, Hwang, Kweon, Yu: a relaxed ranking, exact only among the items of interest."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.ranking import (
    lists_of_scores,
    log_sum_of_remaining,
    lowest_score,
    sort_by_teacher,
)
from tutelage.utils.options import Count


class RRD(Response):
    r"""The negative log-likelihood of the teacher's ranking of interesting items, above the uninteresting in any order.

    L = Σ_{k≤K} [log(Σ_{K≥j≥k} exp s_j + Σ_l exp u_l) − s_k], s in the teacher's order, u those of uninteresting items.

    Shapes: student, teacher (B, N, …) scores of N items; the teacher's first K = `top` are interesting and the rest are
    not; or uninteresting_scores (B, N', …) are the student's scores of uninteresting items, and all N are interesting.
    Without a teacher, the student's scores must already be in its order. Returns (B, …). If each sample is an item,
    (B,) or (B, 1), and groups (B,) are passed, each group is a list; returns (Q,).
    Paper: Kang, Hwang, Kweon, Yu. CIKM 2020 (DE-RRD). arXiv:2012.04357, which draws, in each epoch, the interesting
    items by their rank and an equal number of the rest, and sums over users.
    Raises: ConfigError if `top` isn't above 0.
    """

    paper = "Kang, Hwang, Kweon, Yu. CIKM 2020. arXiv:2012.04357"
    zero_at_equal = False
    ignores = ("shift of logits",)
    data_dependent_size = True
    response_kinds = ("classes", "scores")

    top: Count = 40

    def forward(
        self,
        student: Tensor,
        teacher: Tensor | None = None,
        *,
        uninteresting_scores: Tensor | None = None,
        groups: Tensor | None = None,
    ) -> Tensor:
        mask = None
        if teacher is not None:
            student, teacher, mask = lists_of_scores(student, teacher, None, groups)
            if mask is not None:
                student, teacher = (x.masked_fill(~mask, lowest_score(x)) for x in (student, teacher))
        scores = sort_by_teacher(student, teacher)
        interesting = scores.shape[1]
        if uninteresting_scores is None:
            interesting = min(self.top, interesting)
        else:
            scores = torch.cat([scores, uninteresting_scores], dim=1)
        terms = (log_sum_of_remaining(scores) - scores)[:, :interesting]
        if mask is not None:  # items that don't exist are last
            terms = terms.masked_fill(~mask[:, :interesting], 0)
        return terms.sum(1)
