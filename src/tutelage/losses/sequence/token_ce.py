"""Bengio, Ducharme, Vincent, Jauvin: the next token."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Sequence
from tutelage.losses.functional.chunked import by_chunks


class TokenCE(Sequence):
    r"""Cross-entropy with the true tokens; no teacher.

    L = −log softmax(s)[y], one value per labelled token.

    Shapes: student (B, T, V) logits, targets (B, T) int64, −100 where it doesn't count; returns (N,).
    Paper: Bengio, Ducharme, Vincent, Jauvin. A neural probabilistic language model. JMLR 2003.
    """

    name = "token_ce"
    paper = "Bengio, Ducharme, Vincent, Jauvin. JMLR 2003"
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        return by_chunks(cross_entropy, self.tokens(student, targets), student, self.aligned(targets))


def cross_entropy(student: Tensor, targets: Tensor) -> Tensor:
    """Of rows (N, V) with the true tokens (N,)."""
    return F.cross_entropy(student, targets, reduction="none")
