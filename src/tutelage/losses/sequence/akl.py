"""Wu, Tao, Wang, Yang, Zhao, Wong: forward KL on the head, reverse KL on the tail."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Sequence, require_same_shape
from tutelage.losses.functional.chunked import apply_in_chunks
from tutelage.losses.functional.divergence import kl
from tutelage.utils.options import Fraction


class AKL(Sequence):
    r"""Match the teacher's distribution over tokens by forward and reverse KL, weighted by the gaps at head and tail.

    The head is the most likely token and the tokens with which the teacher's probabilities, from the largest, add up to
    at most μ; the tail is the rest. g = Σ |t − s| over the head, or the tail, without gradient;
    L = g_head/(g_head + g_tail)·KL(t ‖ s) + g_tail/(g_head + g_tail)·KL(s ‖ t), with s, t = softmax(z).

    Shapes: student, teacher (B, T, V) logits, targets (B, T) int64, −100 at positions that don't count; returns (N,).
    Paper: Wu, Tao, Wang, Yang, Zhao, Wong. Rethinking Kullback–Leibler divergence in knowledge distillation for large
    language models. COLING 2025. arXiv:2404.02657, eq. 12–15, μ = 0.5.
    Raises: ConfigError if μ isn't in [0, 1], or the shapes differ.
    """

    paper = "Wu, Tao, Wang, Yang, Zhao, Wong. COLING 2025. arXiv:2404.02657"
    ignores = ("shift of logits",)

    mu: Fraction = 0.5

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor | None = None) -> Tensor:
        require_same_shape(self, student, teacher)
        return apply_in_chunks(self.divergence, self.tokens(student, targets), student, teacher)

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The divergence of each row of logits (N, V), as (N,)."""
        s, t = (F.log_softmax(x, dim=1) for x in (student, teacher))
        head, tail = gaps(s.detach().exp(), t.detach().exp(), self.mu)
        total = (head + tail).clamp_min(torch.finfo(s.dtype).tiny)
        return head / total * kl(t, s) + tail / total * kl(s, t)


def gaps(s: Tensor, t: Tensor, mu: float) -> tuple[Tensor, Tensor]:
    """Return Σ |t − s| over the head and over the tail of probabilities (N, V)."""
    ordered, order = t.sort(dim=1, descending=True)
    gap = (ordered - s.gather(1, order)).abs()
    tail = ordered.cumsum(1) > mu
    tail[:, 0] = False
    return gap.masked_fill(tail, 0).sum(1), gap.masked_fill(~tail, 0).sum(1)
