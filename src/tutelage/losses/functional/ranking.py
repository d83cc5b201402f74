"""Operations on lists of scores along dimension 1."""

from __future__ import annotations

import torch
from torch import Tensor


def sort_by_teacher(scores: Tensor, teacher: Tensor | None) -> Tensor:
    """Sort the scores (B, N, …) by the teacher's, descending; without a teacher they are in its order already."""
    if teacher is None:
        return scores
    return scores.gather(1, teacher.argsort(dim=1, descending=True, stable=True))


def log_sum_of_remaining(scores: Tensor) -> Tensor:
    """Return log Σ_{j≥k} exp s_j for every place k of a list (B, N, …)."""
    return scores.flip(1).logcumsumexp(1).flip(1)


def lowest_score(scores: Tensor) -> float:
    """Return the score of items that aren't in the list."""
    return torch.finfo(scores.dtype).min
