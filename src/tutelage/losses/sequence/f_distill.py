"""Wen, Li, Du, Mou: f-divergences of sequences."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Sequence, require_same_shape
from tutelage.losses.functional.chunked import apply_in_chunks


class TVD(Sequence):
    r"""Match the teacher's distribution over tokens by the total variation distance.

    L = ½·Σ_v |t_v − s_v|, with s, t = softmax(z).

    Shapes: student, teacher (B, T, V) logits, targets (B, T) int64, −100 at positions that don't count; returns (N,).
    Paper: Wen, Li, Du, Mou. f-divergence minimization for sequence-level knowledge distillation. ACL 2023.
    arXiv:2307.15190.
    Raises: ConfigError if the shapes differ.
    """

    paper = "Wen, Li, Du, Mou. ACL 2023. arXiv:2307.15190"
    ignores = ("shift of logits", "swapped sides")

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor | None = None) -> Tensor:
        require_same_shape(self, student, teacher)
        return apply_in_chunks(self.divergence, self.tokens(student, targets), student, teacher)

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The divergence of each row of logits (N, V), as (N,)."""
        return (student.softmax(1) - teacher.softmax(1)).abs().sum(1) / 2
