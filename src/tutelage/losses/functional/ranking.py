"""Operations on lists of scores along dimension 1, and such lists from samples that are grouped by query."""

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


def lists_by_group(groups: Tensor, *values: Tensor) -> tuple[list[Tensor], Tensor]:
    """Lay values of samples, (B,) or (B, 1), out as a list per group: each (Q, N), padded with 0 to the longest list.

    groups (B,) are the samples' group numbers; lists are in their order, items in that of the samples. Also return the
    mask (Q, N) of the items that exist.
    """
    group, sizes = groups.unique(return_inverse=True, return_counts=True)[1:]
    order = group.argsort(stable=True)
    row = group[order]
    place = torch.arange(len(row), device=row.device) - (sizes.cumsum(0) - sizes)[row]
    mask = torch.arange(int(sizes.max()), device=row.device) < sizes[:, None]
    return [x.new_zeros(mask.shape).index_put((row, place), x.reshape(-1)[order]) for x in values], mask


def lists_of_scores(
    student: Tensor, teacher: Tensor, mask: Tensor | None, groups: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the lists of both sides and their mask: a list per group, if each sample has one score, (B,) or (B, 1).

    Otherwise, or without groups, each sample is a list already, (B, N, …).
    """
    if groups is None or student.numel() != len(student):
        return student, teacher, mask
    lists, mask = lists_by_group(groups, student, teacher)
    return lists[0], lists[1], mask


def lowest_score(scores: Tensor) -> float:
    """Return the score of items that aren't in the list."""
    return torch.finfo(scores.dtype).min
