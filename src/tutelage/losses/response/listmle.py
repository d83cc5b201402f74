"""Xia, Liu, Wang, Zhang, Li: the likelihood of a ranking."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import log_plus
from tutelage.losses.functional.ranking import (
    lists_of_scores,
    log_sum_of_remaining,
    lowest_score,
    sort_by_teacher,
)
from tutelage.utils.options import Fraction


class ListMLE(Response):
    r"""The negative log-likelihood of the teacher's ranking of a list under the student's scores.

    L = Σ_k [log(Σ_{j≥k} exp(s_j − max s) + ε) − (s_k − max s)], in the teacher's order.

    Shapes: student, teacher (B, N, …) scores of N items; mask (B, N, …), nonzero for the items that exist; returns
    (B, …). If each sample is an item, (B,) or (B, 1), and groups (B,) are passed, each group is a list; returns (Q,).
    Items that tie for the teacher keep their order in the list.
    Paper: Xia, Liu, Wang, Zhang, Li. ICML 2008, with the teacher's scores as relevance; ε is 10⁻¹⁰ in allRank's code.
    Raises: ConfigError if the shapes differ.
    """

    name = "listmle"
    paper = "Xia, Liu, Wang, Zhang, Li. ICML 2008"
    zero_at_equal = False
    ignores = ("shift of logits",)
    data_dependent_size = True
    response_kinds = ("classes", "scores")

    eps: Fraction = 0.0

    def forward(
        self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, groups: Tensor | None = None
    ) -> Tensor:
        require_same_shape(self, student, teacher)
        student, teacher, mask = lists_of_scores(student, teacher, mask, groups)
        if mask is not None:
            absent = mask == 0
            student, teacher = (x.masked_fill(absent, lowest_score(x)) for x in (student, teacher))
        ordered = sort_by_teacher(student, teacher)
        top = ordered.amax(1, keepdim=True)
        terms = log_plus(log_sum_of_remaining(ordered) - top, self.eps) - (ordered - top)
        if mask is not None:
            terms = terms.masked_fill(sort_by_teacher(absent.to(terms.dtype), teacher) > 0, 0)
        return terms.sum(1)
