"""What losses on scores do to lists, along dimension 1."""

from __future__ import annotations

import torch
from torch import Tensor


def in_order(scores: Tensor, teacher: Tensor | None) -> Tensor:
    """The scores (B, N, …) from the teacher's first to its last; as they are if they come in its order already."""
    if teacher is None:
        return scores
    return scores.gather(1, teacher.argsort(dim=1, descending=True, stable=True))


def log_remaining(scores: Tensor) -> Tensor:
    """log Σ_{j≥k} exp s_j for every place k of a list (B, N, …)."""
    return scores.flip(1).logcumsumexp(1).flip(1)


def lowest(scores: Tensor) -> float:
    """The score of what isn't in the list."""
    return torch.finfo(scores.dtype).min
