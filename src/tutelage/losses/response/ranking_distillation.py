"""Tang, Wang: the teacher's top items as positives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.ranking import lists_of_scores, lowest_score, sort_by_teacher
from tutelage.utils.options import Count, CountOrZero, NonNegative, Positive


class RankingDistillation(Response):
    r"""Score the teacher's top items high, with larger weights for higher ranks.

    L = α·Σ_{k=1}^K w_k·(−log σ(s_k)), s in the teacher's order, w_k = exp(−k/λ)/Σ: the part "candidates". With the
    student's scores of sampled items, w_k is multiplied by max(0, tanh(μ·(r_k − (k−1)))), where r_k, the student's own
    rank of the item, is ⌊(num_items − 1) · the fraction of the sampled items that it scores higher⌋; w has no gradient.
    With scores of labelled items: Σ −log σ(positive) and Σ −log(1 − σ(negative)), the parts "positive" and "negative".

    Shapes: student, teacher (B, N, …) scores; the teacher's first `top` items count; without a teacher, the student's
    scores must already be in its order. sampled_scores (B, S, …), positive_scores (B, P, …), negative_scores (B, Q, …)
    are the student's. num_items=0 means N. Each part is (B, …). If each sample is an item, (B,) or (B, 1), and groups
    (B,) are passed, each group is a list, whose w_k are those of the items that exist; the part is (Q,).
    Paper: Tang, Wang. KDD 2018. arXiv:1809.07428.
    Raises: ConfigError if `top` or λ isn't above 0.
    """

    name = "ranking_distillation"
    paper = "Tang, Wang. KDD 2018. arXiv:1809.07428"
    zero_at_equal = False
    data_dependent_size = True
    response_kinds = ("classes", "scores")

    top: Count = 10
    alpha: NonNegative = 1.0
    sharpness: Positive = 1.0
    mu: NonNegative = 0.1
    num_items: CountOrZero = 0

    def forward(
        self,
        student: Tensor,
        teacher: Tensor | None = None,
        *,
        sampled_scores: Tensor | None = None,
        positive_scores: Tensor | None = None,
        negative_scores: Tensor | None = None,
        groups: Tensor | None = None,
    ) -> dict[str, Tensor]:
        mask = None
        if teacher is not None:
            student, teacher, mask = lists_of_scores(student, teacher, None, groups)
            if mask is not None:
                teacher = teacher.masked_fill(~mask, lowest_score(teacher))
        candidates = sort_by_teacher(student, teacher)[:, : self.top]
        weight = self.weights(candidates.detach(), sampled_scores, self.num_items or student.shape[1])
        if mask is not None:  # items that don't exist are last
            weight = weight * mask[:, : self.top]
            weight = weight / weight.sum(1, keepdim=True)
        parts = {"candidates": self.alpha * (weight * F.softplus(-candidates)).sum(1)}
        if positive_scores is not None:
            parts["positive"] = F.softplus(-positive_scores).sum(1)
        if negative_scores is not None:
            parts["negative"] = F.softplus(negative_scores).sum(1)
        return parts

    @torch.no_grad()
    def weights(self, candidates: Tensor, sampled: Tensor | None, items: int) -> Tensor:
        """Return the weight of each rank, (1 or B, K, …)."""
        rank = torch.arange(candidates.shape[1], device=candidates.device, dtype=candidates.dtype)
        rank = rank.reshape(1, -1, *[1] * (candidates.dim() - 2))
        weight = (-(rank + 1) / self.sharpness).softmax(1)
        if sampled is None:
            return weight
        above = (sampled.unsqueeze(1) > candidates.unsqueeze(2)).to(candidates.dtype).mean(2)
        return weight * (self.mu * (((items - 1) * above).floor() - rank)).tanh().clamp_min(0)
