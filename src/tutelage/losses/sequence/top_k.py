"""DistillKit: divergences to a teacher of which only the most likely tokens are stored."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Sequence
from tutelage.losses.functional.divergence import kl, log_mixture
from tutelage.losses.functional.topk_tokens import (
    append_log_rest,
    counted_positions,
    log_among_top,
    select_top_tokens,
    topk_example,
)
from tutelage.utils.options import Count, Temperature


class TopK(Sequence):
    r"""Match the teacher's most likely tokens, by a divergence.

    s, t: the probabilities of the teacher's top tokens, and of all other tokens as one more; s = softmax(z/T) over all.
    "kl": L = KL(t ‖ s);  "jsd": L = ½·KL(t ‖ m) + ½·KL(s ‖ m), m = (t + s)/2;  "tvd": L = ½·Σ |t − s|.
    The other tokens have no probability in t, whose top ones are scaled to sum to 1 (`missing="zero"`), or the
    remaining probability (`missing="symmetric_uniform"`: uniform over the other tokens, in s as well).

    Shapes: student (B, T, V) logits; teacher (B, T, V) logits of which the `top` largest are used, or None with
    teacher_topk_ids (B, T, K) int64 and teacher_topk_values (B, T, K) as stored: log-probabilities, or logits
    (`log_target=False`); targets (B, T) int64, −100 at positions that don't count, mask (B, T): nonzero at positions
    that count; returns (N,).
    Paper: none; Arcee AI's DistillKit (2024), which sums over the tokens. No T².
    Raises: ConfigError if an option isn't known or contradicts another, or the teacher's tokens are missing.
    """

    name = "sparse_topk"
    paper = "Arcee AI. DistillKit, 2024"
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)

    divergence: Literal["kl", "jsd", "tvd"] = "kl"
    top: Count = 64
    missing: Literal["zero", "symmetric_uniform"] = "zero"
    log_target: bool = True
    temperature: Temperature = 1.0

    def __post_init__(self) -> None:
        if self.missing == "symmetric_uniform" and not self.log_target:
            raise ConfigError(
                "TopK(missing='symmetric_uniform', log_target=False): the remaining probability isn't known from "
                "top logits; store log-probabilities, or set missing='zero'."
            )

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
        s = F.log_softmax(student[tokens] / self.temperature, dim=1).gather(1, ids)
        t = log_among_top(values, self.log_target, self.missing, self.temperature)
        outside = (1 - s.exp().sum(1)).clamp_min(0)  # s's probability of the other tokens
        if self.missing != "zero":
            s, t, outside = append_log_rest(s), append_log_rest(t), 0 * outside
        if self.divergence == "kl":
            return kl(t, s)
        if self.divergence == "tvd":
            return ((t.exp() - s.exp()).abs().sum(1) + outside) / 2
        m = log_mixture(t, s, 0.5)
        return (kl(t, m) + kl(s, m) + outside * math.log(2)) / 2

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Stored top tokens in place of the teacher's logits."""
        return topk_example()
