"""Cao, Qin, Liu, Tsai, Li: the probability of ranking first."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import log_plus
from tutelage.losses.functional.ranking import lists_of_scores, lowest_score
from tutelage.utils.options import Fraction


class ListNet(Response):
    r"""Match the teacher's probability of each item of a list to rank first.

    L = −Σ_i softmax(t)_i · log(softmax(s)_i + ε).

    Shapes: student, teacher (B, N, …) scores of N items; mask (B, N, …), nonzero for the items that exist; returns
    (B, …). If each sample is an item, (B,) or (B, 1), and groups (B,) are passed, each group is a list; returns (Q,).
    Paper: Cao, Qin, Liu, Tsai, Li. ICML 2007, with the teacher's scores as relevance; ε is 10⁻¹⁰ in allRank's code.
    Raises: ConfigError if the shapes differ.
    """

    name = "listnet"
    paper = "Cao, Qin, Liu, Tsai, Li. ICML 2007"
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
            student, teacher = (x.masked_fill(mask == 0, lowest_score(x)) for x in (student, teacher))
        return -(teacher.softmax(1) * log_plus(F.log_softmax(student, dim=1), self.eps)).sum(1)
