"""Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem: interpolation between forward and reverse KL."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Sequence, require_same_shape
from tutelage.losses.functional.chunked import apply_in_chunks
from tutelage.losses.functional.divergence import kl, log_mixture
from tutelage.utils.options import Fraction, Temperature


class GKD(Sequence):
    r"""Match the teacher's distribution over tokens by the generalised Jensen–Shannon divergence.

    m = β·t + (1−β)·s;  L = β·KL(t ‖ m) + (1−β)·KL(s ‖ m), with s, t = softmax(z/T);
    at its ends KL(t ‖ s), forward, for β = 0, and KL(s ‖ t), reverse, for β = 1.

    Shapes: student, teacher (B, T, V) logits, targets (B, T) int64, −100 at positions that don't count; returns (N,).
    Paper: Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem. ICLR 2024. arXiv:2306.13649, eq. 1, where the
    student also generates (some of) the sequences. No T². β = ½ is the Jensen–Shannon divergence.
    Raises: ConfigError if β isn't in [0, 1] or the temperature above 0, or the shapes differ.
    """

    paper = "Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem. ICLR 2024. arXiv:2306.13649"
    ignores = ("shift of logits",)

    beta: Fraction = 0.5
    temperature: Temperature = 1.0

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor | None = None) -> Tensor:
        require_same_shape(self, student, teacher)
        return apply_in_chunks(self.divergence, self.tokens(student, targets), student, teacher)

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The divergence of each row of logits (N, V), as (N,)."""
        s, t = (F.log_softmax(x / self.temperature, dim=1) for x in (student, teacher))
        if self.beta in (0, 1):
            return kl(s, t) if self.beta else kl(t, s)
        m = log_mixture(t, s, self.beta)
        return self.beta * kl(t, m) + (1 - self.beta) * kl(s, m)
