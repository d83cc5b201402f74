"""Memory banks: first-in, first-out queues of embeddings of earlier batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.functional.divergence import softened_kl


class VectorQueue(nn.Module):
    """A queue of the newest `size` vectors that were pushed, in `rows` (size, D); initially random unit vectors.

    Rows are overwritten in turn, from the first on. The queue moves and is checkpointed with its loss; each replica of
    distributed training keeps its own.

    Args:
        size: the number of vectors.
        like: a tensor (N, D) with the vectors' width, dtype and device.
    """

    rows: Tensor
    oldest: Tensor

    def __init__(self, size: int, like: Tensor) -> None:
        super().__init__()
        self.rows = nn.Buffer(F.normalize(like.new_empty(size, like.shape[1]).normal_(), dim=1))
        self.oldest = nn.Buffer(torch.zeros((), dtype=torch.int64, device=like.device))

    @torch.no_grad()
    def push(self, new: Tensor) -> None:
        """Replace the oldest vectors by new ones (B, D)."""
        new = new[-len(self.rows) :]
        slots = (self.oldest + torch.arange(len(new), device=new.device)) % len(self.rows)
        self.rows = self.rows.index_copy(
            0, slots, new.to(self.rows.dtype)
        )  # a copy: the old tensor may be part of a graph
        self.oldest.copy_((self.oldest + len(new)) % len(self.rows))


class ClassQueues(nn.Module):
    """One queue per class, in `rows` (K, size, D); a batch may fill some queues and leave the others unchanged.

    Args:
        classes: the number of queues K.
        size: the number of vectors in each queue.
        like: a tensor (N, D) with the vectors' width, dtype and device.
    """

    rows: Tensor
    oldest: Tensor

    def __init__(self, classes: int, size: int, like: Tensor) -> None:
        super().__init__()
        self.rows = nn.Buffer(F.normalize(like.new_empty(classes, size, like.shape[1]).normal_(), dim=2))
        self.oldest = nn.Buffer(torch.zeros(classes, dtype=torch.int64, device=like.device))

    @torch.no_grad()
    def push(self, new: Tensor, count: Tensor) -> None:
        """Replace each queue's oldest vectors by the first count_k of its class's new ones (K, M, D); count is (K,)."""
        size = self.rows.shape[1]
        new = new[:, :size]
        position = torch.arange(new.shape[1], device=new.device)
        count = count.clamp(max=new.shape[1])
        slots = (self.oldest[:, None] + position) % size
        classes = torch.arange(len(slots), device=new.device)[:, None]
        is_new = (position < count[:, None])[..., None]
        self.rows[classes, slots] = torch.where(is_new, new.to(self.rows.dtype), self.rows[classes, slots])
        self.oldest.copy_((self.oldest + count) % size)

    def draw(self, count: int) -> Tensor:
        """Draw the same `count` rows of every queue without replacement, (K, count, D); all rows if there are fewer."""
        indices = torch.randperm(self.rows.shape[1], device=self.rows.device)[:count]
        return self.rows[:, indices]


def similarity_kl(
    student: Tensor, teacher: Tensor, student_bank: Tensor, teacher_bank: Tensor, temperature: float
) -> Tensor:
    """Return KL(softmax(t·Q_tᵀ/τ) ‖ softmax(s·Q_sᵀ/τ)), (N,), of unit vectors (N, D) over a bank's rows Q (M, D)."""
    kl = softened_kl(student @ student_bank.T, teacher @ teacher_bank.T, temperature)
    return kl / temperature**2
