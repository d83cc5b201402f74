"""Ko, Chen, Kim, Ding, Liang, Zharkov, Yun: what the teacher wrote, and what the student wrote."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Sequence, same_shape
from tutelage.losses.functional.chunked import by_chunks
from tutelage.losses.functional.divergence import kl, log_mixture
from tutelage.losses.functional.tokens import by_sequence
from tutelage.losses.sequence.token_ce import cross_entropy
from tutelage.utils.options import Epochs, ShareBelowOne


class DistiLLM2(Sequence):
    r"""Raise the likelihood of what the teacher wrote, and lower that of what only the student would write.

    By tokens, averaged over each sequence:  L = (2−β)·KL(t ‖ α₁·t + (1−α₁)·s) where the teacher wrote it,
    L = β·KL(s ‖ (1−α₂)·t + α₂·sg s) where the student did; sg: without gradient.
    α₁ = `skew`; if teacher_anchor A is given, by sequence: clip(1 − (1−skew)·A/(exp m_t − exp m_s + 10⁻⁵), 0.01, skew)
    with m the mean log-probability of the sequence's tokens; α₂ likewise, from `reverse_skew`, student_anchor and
    exp m_s − exp m_t. β = 1, or with `gradual` 1 + ½·min(1, 2·epoch/epochs).

    Shapes: student, teacher (B, T, V) logits, targets (B, T) int64, −100 where it doesn't count; by_teacher (B,) bool:
    who wrote each sequence, as many of either; returns (B,). The anchors are numbers: the mean of exp m_t − exp m_s
    over the teacher's latest sequences, and of exp m_s − exp m_t over the student's.
    Paper: Ko, Chen, Kim, Ding, Liang, Zharkov, Yun. ICML 2025. arXiv:2503.07067, eq. 6–9. As in the authors' code the
    student within its own mixture has no gradient; that code adds both means, so that it is twice ours.
    `reverse_only` takes the second divergence for all (their "distillm_v1").
    Raises: ConfigError if a skew isn't in [0, 1) or `epochs` above 0, or the two differ in shape.
    """

    name = "distillm2"
    paper = "Ko, Chen, Kim, Ding, Liang, Zharkov, Yun. ICML 2025. arXiv:2503.07067"
    only_for = "language models"
    ignores = ("shift of logits",)

    skew: ShareBelowOne = 0.1
    reverse_skew: ShareBelowOne = 0.1
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
        same_shape(self, student, teacher)
        tokens, labels = self.tokens(student, targets), self.aligned(targets)
        m_s, m_t = (likelihood(x.detach(), labels, tokens) for x in (student, teacher))
        beta = 1 + min(1.0, 2 * epoch / self.epochs) / 2 if self.gradual else 1.0
        wrote = torch.zeros_like(by_teacher) if self.reverse_only else by_teacher
        alpha = torch.where(
            wrote, adapted(self.skew, teacher_anchor, m_t - m_s), adapted(self.reverse_skew, student_anchor, m_s - m_t)
        )
        by_token = (x[:, None].expand_as(tokens) for x in (wrote, alpha))
        values = by_chunks(divergence, tokens, student, teacher, *by_token)
        values = by_sequence(values, tokens)
        return torch.where(by_teacher, (2 - beta) * values, beta * values)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Every other sequence is the teacher's."""
        targets = torch.randint(7, (6, 5))
        targets[:, 0] = -100
        return torch.randn(6, 5, 7), torch.randn(6, 5, 7), {"targets": targets, "by_teacher": torch.arange(6) % 2 == 0}


def divergence(student: Tensor, teacher: Tensor, taught: Tensor, alpha: Tensor) -> Tensor:
    """Of rows (N, V), of which the teacher wrote some (N,)."""
    s, t = (F.log_softmax(x, dim=1) for x in (student, teacher))
    a = alpha[:, None]
    forward = kl(t[taught], log_mixture(t[taught], s[taught], a[taught]))
    reverse = kl(s[~taught], log_mixture(s[~taught].detach(), t[~taught], a[~taught]))
    return torch.zeros_like(s[:, 0]).masked_scatter(taught, forward).masked_scatter(~taught, reverse)


def likelihood(logits: Tensor, labels: Tensor, tokens: Tensor) -> Tensor:
    """The geometric mean of the probabilities of each sequence's tokens, (B,)."""
    return by_sequence(-by_chunks(cross_entropy, tokens, logits, labels), tokens).exp()


def adapted(skew: float, anchor: float | None, gap: Tensor) -> Tensor:
    """The skew of each sequence: the smaller, the further student and teacher are apart for its gap."""
    if anchor is None:
        return torch.full_like(gap, skew)
    return (1 - (1 - skew) * anchor / (gap + 1e-5)).clamp(0.01, skew)
