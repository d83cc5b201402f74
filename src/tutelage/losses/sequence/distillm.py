"""Ko, Kim, Chen, Yun: divergences to a mixture."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Sequence, require_same_shape
from tutelage.losses.functional.chunked import apply_in_chunks
from tutelage.losses.functional.divergence import kl, log_mixture
from tutelage.utils.options import FractionBelowOne


class SkewKL(Sequence):
    r"""Match the teacher's distribution over tokens by a KL divergence that is skewed towards itself.

    L = KL(t ‖ λ·t + (1−λ)·s), with s, t = softmax(z).

    Shapes: student, teacher (B, T, V) logits, targets (B, T) int64, −100 at positions that don't count; returns (N,).
    Paper: Ko, Kim, Chen, Yun. DistiLLM. ICML 2024. arXiv:2402.03898, eq. 4, λ = 0.1. λ = 0 is the forward KL. The
    authors' code leaves out the teacher's entropy (`entropy=False`), a constant.
    Raises: ConfigError if λ isn't in [0, 1), or the shapes differ.
    """

    name = "skew_kl"
    paper = "Ko, Kim, Chen, Yun. ICML 2024. arXiv:2402.03898"
    ignores = ("shift of logits",)

    skew: FractionBelowOne = 0.1
    entropy: bool = True

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor | None = None) -> Tensor:
        require_same_shape(self, student, teacher)
        return apply_in_chunks(self.divergence, self.tokens(student, targets), student, teacher)

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The divergence of each row of logits (N, V), as (N,)."""
        s, t = (F.log_softmax(x, dim=1) for x in (student, teacher))
        m = log_mixture(t, s, self.skew)
        return kl(t, m) if self.entropy else -(t.exp() * m).sum(1)


class SkewRKL(Sequence):
    r"""Match the teacher's distribution over tokens by a reverse KL divergence that is skewed towards the student.

    L = KL(s ‖ (1−λ)·t + λ·s), with s, t = softmax(z); the gradient runs through both s.

    Shapes: student, teacher (B, T, V) logits, targets (B, T) int64, −100 at positions that don't count; returns (N,).
    Paper: Ko, Kim, Chen, Yun. DistiLLM. ICML 2024. arXiv:2402.03898, eq. 5, λ = 0.1. λ = 0 is the reverse KL.
    Raises: ConfigError if λ isn't in [0, 1), or the shapes differ.
    """

    name = "skew_rkl"
    paper = "Ko, Kim, Chen, Yun. ICML 2024. arXiv:2402.03898"
    ignores = ("shift of logits",)

    skew: FractionBelowOne = 0.1

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor | None = None) -> Tensor:
        require_same_shape(self, student, teacher)
        return apply_in_chunks(self.divergence, self.tokens(student, targets), student, teacher)

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The divergence of each row of logits (N, V), as (N,)."""
        s, t = (F.log_softmax(x, dim=1) for x in (student, teacher))
        return kl(s, log_mixture(s, t, self.skew))
