"""Ko, Chen, Kim, Ding, Liang, Zharkov, Yun: different divergences on the teacher's and on the student's sequences."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Sequence, require_same_shape
from tutelage.losses.functional.chunked import apply_in_chunks
from tutelage.losses.functional.divergence import kl, log_mixture
from tutelage.losses.functional.tokens import mean_by_sequence
from tutelage.losses.sequence.token_ce import cross_entropy
from tutelage.utils.options import Epochs, FractionBelowOne


class DistiLLM2(Sequence):
    r"""Raise the likelihood of the teacher's sequences, and lower that of sequences only the student would generate.

    Per token, averaged over each sequence:  L = (2−β)·KL(t ‖ α₁·t + (1−α₁)·s) if the teacher generated it,
    L = β·KL(s ‖ (1−α₂)·t + α₂·sg s) if the student did; sg: without gradient.
    α₁ = `skew`; if teacher_anchor A is passed, per sequence: clip(1 − (1−skew)·A/(exp m_t − exp m_s + 10⁻⁵), 0.01,
    skew) with m the mean log-probability of the sequence's tokens; α₂ likewise, from `reverse_skew`, student_anchor and
    exp m_s − exp m_t. β = 1, or with `gradual` 1 + ½·min(1, 2·epoch/epochs).

    Shapes: student, teacher (B, T, V) logits, targets (B, T) int64, −100 at positions that don't count; by_teacher (B,)
    bool: whether the teacher generated each sequence, True for half of them; returns (B,). The anchors are numbers: the
    mean of exp m_t − exp m_s over the teacher's most recent sequences, and of exp m_s − exp m_t over the student's.
    Paper: Ko, Chen, Kim, Ding, Liang, Zharkov, Yun. ICML 2025. arXiv:2503.07067, eq. 6–9. As in the authors' code the
    student within its own mixture has no gradient; that code adds both means, so that its loss is twice this one.
    `reverse_only` uses the second divergence for all sequences (their "distillm_v1").
    Raises: ConfigError if a skew isn't in [0, 1) or `epochs` above 0, or the shapes differ.
    """

    name = "distillm2"
    paper = "Ko, Chen, Kim, Ding, Liang, Zharkov, Yun. ICML 2025. arXiv:2503.07067"
    only_for = "language models"
    ignores = ("shift of logits",)

    skew: FractionBelowOne = 0.1
    reverse_skew: FractionBelowOne = 0.1
    gradual: bool = False
    epochs: Epochs = 1.0
    reverse_only: bool = False

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        targets: Tensor,
        by_teacher: Tensor,
        teacher_anchor: float | None = None,
        student_anchor: float | None = None,
        epoch: float = 0.0,
    ) -> Tensor:
        require_same_shape(self, student, teacher)
        tokens, labels = self.tokens(student, targets), self.align_targets(targets)
        m_s, m_t = (likelihood(x.detach(), labels, tokens) for x in (student, teacher))
        beta = 1 + min(1.0, 2 * epoch / self.epochs) / 2 if self.gradual else 1.0
        forward_kl = torch.zeros_like(by_teacher) if self.reverse_only else by_teacher
        alpha = torch.where(
            forward_kl,
            adapt_skew(self.skew, teacher_anchor, m_t - m_s),
            adapt_skew(self.reverse_skew, student_anchor, m_s - m_t),
        )
        by_token = (x[:, None].expand_as(tokens) for x in (forward_kl, alpha))
        values = apply_in_chunks(divergence, tokens, student, teacher, *by_token)
        values = mean_by_sequence(values, tokens)
        return torch.where(by_teacher, (2 - beta) * values, beta * values)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Alternating sequences of the teacher and of the student."""
        targets = torch.randint(7, (6, 5))
        targets[:, 0] = -100
        return torch.randn(6, 5, 7), torch.randn(6, 5, 7), {"targets": targets, "by_teacher": torch.arange(6) % 2 == 0}


def divergence(student: Tensor, teacher: Tensor, by_teacher: Tensor, alpha: Tensor) -> Tensor:
    """The divergence (N,) of rows (N, V), forward for those of `by_teacher` (N,)."""
    s, t = (F.log_softmax(x, dim=1) for x in (student, teacher))
    a = alpha[:, None]
    by_student = ~by_teacher
    forward = kl(t[by_teacher], log_mixture(t[by_teacher], s[by_teacher], a[by_teacher]))
    reverse = kl(s[by_student], log_mixture(s[by_student].detach(), t[by_student], a[by_student]))
    return torch.zeros_like(s[:, 0]).masked_scatter(by_teacher, forward).masked_scatter(by_student, reverse)


def likelihood(logits: Tensor, labels: Tensor, tokens: Tensor) -> Tensor:
    """Return the geometric mean of the probabilities of each sequence's tokens, (B,)."""
    return mean_by_sequence(-apply_in_chunks(cross_entropy, tokens, logits, labels), tokens).exp()


def adapt_skew(skew: float, anchor: float | None, gap: Tensor) -> Tensor:
    """Return the skew of each sequence, which grows with its gap between the models, relative to the anchor."""
    if anchor is None:
        return torch.full_like(gap, skew)
    return (1 - (1 - skew) * anchor / (gap + 1e-5)).clamp(0.01, skew)
