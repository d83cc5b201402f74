"""Bengio, Ducharme, Vincent, Jauvin: cross-entropy of the next token."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Sequence
from tutelage.losses.functional.chunked import apply_in_chunks


class TokenCE(Sequence):
    r"""Cross-entropy with the true tokens; it needs no teacher.

    L = −log softmax(s)[y], one value per labelled token.

    Shapes: student (B, T, V) logits, targets (B, T) int64, −100 at positions that don't count; returns (N,).
    Paper: Bengio, Ducharme, Vincent, Jauvin. A neural probabilistic language model. JMLR 2003.
    """

    name = "token_ce"
    paper = "Bengio, Ducharme, Vincent, Jauvin. JMLR 2003"
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        return apply_in_chunks(cross_entropy, self.tokens(student, targets), student, self.align_targets(targets))


def cross_entropy(student: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy (N,) of rows of logits (N, V) with the true tokens (N,)."""
    return F.cross_entropy(student, targets, reduction="none")
