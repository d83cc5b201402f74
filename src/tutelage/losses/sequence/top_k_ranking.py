"""DistillKit: the teacher's order of its most likely tokens."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Sequence
from tutelage.losses.functional.tokens import scale_to_masked_mean
from tutelage.losses.functional.topk_tokens import counted_positions, preference_mask, select_top_tokens, topk_example
from tutelage.utils.options import Count, NonNegative


class TopKHinge(Sequence):
    r"""Keep the student's probabilities in the teacher's order, by a margin.

    L = max(0, m − (s_k − s_l)) for each pair of the teacher's top tokens with t_k > t_l + 10⁻⁸ > 10⁻⁸, s = softmax(z);
    m = `margin`, or t_k − t_l where it is None.

    Shapes: student (B, T, V) logits; teacher (B, T, V) logits of which the `top` largest are used, or None with
    teacher_topk_ids (B, T, K) int64 and teacher_topk_values (B, T, K) as stored: log-probabilities, or
    probabilities (`log_target=False`); targets (B, T) int64, −100 at positions that don't count, mask (B, T): nonzero
    at positions that count; returns (N, K, K), 0 where a pair isn't preferred, such that the mean over all is that over
    the preferred pairs.
    Paper: none; Arcee AI's DistillKit (2024).
    Raises: ConfigError if `top` isn't above 0, or the teacher's tokens are missing.
    """

    name = "sparse_hinge"
    paper = "Arcee AI. DistillKit, 2024"
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)

    top: Count = 64
    margin: NonNegative | None = 0.0
    log_target: bool = True

    def forward(
        self,
        student: Tensor,
        teacher: Tensor | None = None,
        *,
        targets: Tensor | None = None,
        teacher_topk_ids: Tensor | None = None,
        teacher_topk_values: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        tokens = counted_positions(self, student, targets, mask)
        ids, values = select_top_tokens(self, tokens, teacher, teacher_topk_ids, teacher_topk_values)
        t = values.exp() if self.log_target else values
        s = student[tokens].softmax(1).gather(1, ids)
        margin = t[:, :, None] - t[:, None] if self.margin is None else self.margin
        return scale_to_masked_mean((margin - (s[:, :, None] - s[:, None])).relu(), preference_mask(t, 1e-8))

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Stored top tokens in place of the teacher's logits."""
        return topk_example()


class TopKLogistic(Sequence):
    r"""Keep the student's logits in the teacher's order, by a logistic loss.

    L = log(1 + exp(z_l − z_k)) for each pair of the teacher's top tokens with t_k > t_l + 10⁻⁹ > 10⁻⁹.

    Shapes: student (B, T, V) logits; teacher (B, T, V) logits of which the `top` largest are used, or None with
    teacher_topk_ids (B, T, K) int64 and teacher_topk_values (B, T, K) as stored: log-probabilities, or
    probabilities (`log_target=False`); targets (B, T) int64, −100 at positions that don't count, mask (B, T): nonzero
    at positions that count; returns (N, K, K), 0 where a pair isn't preferred, such that the mean over all is that over
    the preferred pairs.
    Paper: none; Arcee AI's DistillKit (2024).
    Raises: ConfigError if `top` isn't above 0, or the teacher's tokens are missing.
    """

    name = "sparse_logistic_ranking"
    paper = "Arcee AI. DistillKit, 2024"
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)

    top: Count = 64
    log_target: bool = True

    def forward(
        self,
        student: Tensor,
        teacher: Tensor | None = None,
        *,
        targets: Tensor | None = None,
        teacher_topk_ids: Tensor | None = None,
        teacher_topk_values: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        tokens = counted_positions(self, student, targets, mask)
        ids, values = select_top_tokens(self, tokens, teacher, teacher_topk_ids, teacher_topk_values)
        t = values.exp() if self.log_target else values
        z = student[tokens].gather(1, ids)
        return scale_to_masked_mean(F.softplus(z[:, None] - z[:, :, None]), preference_mask(t, 1e-9))

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Stored top tokens in place of the teacher's logits."""
        return topk_example()
