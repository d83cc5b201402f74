"""Banks of embeddings of earlier batches: first in, first out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.functional.divergence import softened_kl


class Queue(nn.Module):
    """The newest `size` vectors of what was pushed, in `rows` (size, D); random unit vectors at first.

    Rows are overwritten from the first on, in turn. It moves and checkpoints with its loss; replicas keep their own.
    """

    rows: Tensor
    oldest: Tensor

    def __init__(self, size: int, like: Tensor) -> None:
        super().__init__()
        self.rows = nn.Buffer(F.normalize(like.new_empty(size, like.shape[1]).normal_(), dim=1))
        self.oldest = nn.Buffer(torch.zeros((), dtype=torch.int64, device=like.device))

    @torch.no_grad()
    def push(self, new: Tensor) -> None:
        """Put vectors (B, D) in the place of the oldest."""
        new = new[-len(self.rows) :]
        slots = (self.oldest + torch.arange(len(new), device=new.device)) % len(self.rows)
        self.rows = self.rows.index_copy(0, slots, new.to(self.rows.dtype))  # a copy: the old one may be in a graph
        self.oldest.copy_((self.oldest + len(new)) % len(self.rows))


class ClassQueues(nn.Module):
    """A queue for each class, in `rows` (K, size, D), of which a batch may fill some and leave others alone."""

    rows: Tensor
    oldest: Tensor

    def __init__(self, classes: int, size: int, like: Tensor) -> None:
        super().__init__()
        self.rows = nn.Buffer(F.normalize(like.new_empty(classes, size, like.shape[1]).normal_(), dim=2))
        self.oldest = nn.Buffer(torch.zeros(classes, dtype=torch.int64, device=like.device))

    @torch.no_grad()
    def push(self, new: Tensor, count: Tensor) -> None:
        """Put the first count_k of each class's vectors (K, M, D) in the place of its oldest; count is (K,)."""
        size = self.rows.shape[1]
        new = new[:, :size]
        turn = torch.arange(new.shape[1], device=new.device)
        count = count.clamp(max=new.shape[1])
        slots = (self.oldest[:, None] + turn) % size
        classes = torch.arange(len(slots), device=new.device)[:, None]
        given = (turn < count[:, None])[..., None]
        self.rows[classes, slots] = torch.where(given, new.to(self.rows.dtype), self.rows[classes, slots])
        self.oldest.copy_((self.oldest + count) % size)

    def draw(self, count: int) -> Tensor:
        """The same `count` places of every queue, drawn without replacement, (K, count, D); all of them if fewer."""
        places = torch.randperm(self.rows.shape[1], device=self.rows.device)[:count]
        return self.rows[:, places]


def similarity_kl(
    student: Tensor, teacher: Tensor, student_bank: Tensor, teacher_bank: Tensor, temperature: float
) -> Tensor:
    """KL(softmax(t·Q_tᵀ/τ) ‖ softmax(s·Q_sᵀ/τ)) of unit vectors (N, D) over a bank's rows (M, D); returns (N,)."""
    kl = softened_kl(student @ student_bank.T, teacher @ teacher_bank.T, temperature)
    return kl / temperature**2
