"""Kang, Hwang, Kweon, Yu: a ranking of what matters, above all that doesn't."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.ranking import in_order, log_remaining
from tutelage.utils.options import Count


class RRD(Response):
    r"""The likelihood of the teacher's ranking of the interesting items, above all uninteresting ones in any order.

    L = Σ_{k≤K} [log(Σ_{K≥j≥k} exp s_j + Σ_l exp u_l) − s_k], s in the teacher's order, u of the uninteresting.

    Shapes: student, teacher (B, N, …) scores of N items; the teacher's first K = `top` are interesting and the rest are
    not; or uninteresting_scores (B, N', …) gives the student's scores of those, and all N are interesting. Without a
    teacher the student's scores come in its order already. Returns (B, …).
    Paper: Kang, Hwang, Kweon, Yu. CIKM 2020 (DE-RRD). arXiv:2012.04357, which draws the interesting items by their
    place and as many of the rest, anew each epoch, and sums over users.
    Raises: ConfigError if `top` isn't above 0.
    """

    paper = "Kang, Hwang, Kweon, Yu. CIKM 2020. arXiv:2012.04357"
    zero_at_equal = False
    ignores = ("shift of logits",)

    top: Count = 40

    def forward(
        self, student: Tensor, teacher: Tensor | None = None, *, uninteresting_scores: Tensor | None = None
    ) -> Tensor:
        scores = in_order(student, teacher)
        interesting = scores.shape[1]
        if uninteresting_scores is None:
            interesting = min(self.top, interesting)
        else:
            scores = torch.cat([scores, uninteresting_scores], dim=1)
        return (log_remaining(scores) - scores)[:, :interesting].sum(1)
