"""Tian, Krishnan, Isola: contrast of representations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tutelage.errors import ConfigError
from tutelage.losses.base import Relation
from tutelage.utils.options import Count, ShareBelowOne, Temperature, Width


class CRD(Relation):
    r"""Tell the teacher's view of the same sample from its views of others, and the student's likewise.

    v = unit(W·f) for either side;  h(v, m) = exp(⟨v, m⟩/τ) / Z, m a row of the other side's memory;
    L = −log h₀/(h₀ + K/N) − Σ_k log (K/N)/(h_k + K/N) with h₀ of the sample itself and h_k of K others drawn of N;
    summed over both sides, one value per sample. The memories, m ← unit(μ·m + (1−μ)·v), are read before they are
    updated, and updated in training only. Z = N·mean exp(⟨v, m⟩/τ) of the first batch, then fixed, for each side.

    Shapes: student (B, …), teacher (B, …), flattened, index (B,) int64 below N; returns (B,). Negatives are drawn
    uniformly from the other samples, with torch's generator, unless contrast_index (B, 1 + K) gives them after the
    sample itself.
    Both embeddings W are trained. Memory: 2·N·dim numbers. Replicas keep memories of their own.
    Paper: Tian, Krishnan, Isola. ICLR 2020. arXiv:1910.10699, eq. 17–19; the constants are those of the authors' code.
    Raises: ConfigError if an option isn't above 0, momentum isn't in [0, 1), or the data has fewer than two samples.
    """

    paper = "Tian, Krishnan, Isola. ICLR 2020. arXiv:1910.10699"
    flattens = True
    zero_at_equal = False
    permutation_invariant = False
    default_weight = 0.8

    dim: Width = 128
    negatives: Count = 16384
    temperature: Temperature = 0.07
    momentum: ShareBelowOne = 0.5

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        if samples < 2:
            raise ConfigError(f"CRD keeps a memory of every sample: given {samples} samples, expected at least 2.")
        self.embed_student = nn.Linear(student[0].numel(), self.dim).to(student)
        self.embed_teacher = nn.Linear(teacher[0].numel(), self.dim).to(student)
        bound = (3 / self.dim) ** 0.5  # rows of unit length on average
        self.memory_student = nn.Buffer(student.new_empty(samples, self.dim).uniform_(-bound, bound))
        self.memory_teacher = nn.Buffer(student.new_empty(samples, self.dim).uniform_(-bound, bound))
        self.kept: Tensor | None = None
        self.z_student = nn.Buffer(student.new_tensor(-1.0))  # not yet known
        self.z_teacher = nn.Buffer(student.new_tensor(-1.0))

    def forward(
        self, student: Tensor, teacher: Tensor, *, index: Tensor, contrast_index: Tensor | None = None
    ) -> Tensor:
        s = F.normalize(self.embed_student(student.flatten(1)), dim=1)
        t = F.normalize(self.embed_teacher(teacher.flatten(1)), dim=1)
        candidates = self.draw(index) if contrast_index is None else contrast_index
        loss = self.contrast(s, self.memory_teacher, self.z_student, candidates)
        loss = loss + self.contrast(t, self.memory_student, self.z_teacher, candidates)
        if self.training:
            self.remember(self.memory_student, index, s)
            self.remember(self.memory_teacher, index, t)
        return loss

    def draw(self, index: Tensor) -> Tensor:
        """(B,) → (B, 1 + K): each sample's number, and K of others."""
        shape = len(index), 1 + self.negatives
        candidates = torch.randint(len(self.memory_student) - 1, shape, device=index.device)
        candidates += candidates >= index[:, None]
        candidates[:, 0] = index
        return candidates

    def contrast(self, v: Tensor, memory: Tensor, z: Tensor, candidates: Tensor) -> Tensor:
        """The noise-contrastive loss (B,) of embeddings (B, dim) with the candidates' rows of a memory."""
        with torch.no_grad():
            room = self.room(len(v), memory) if dense(memory, candidates) else None
            h = products(v.to(memory.dtype) / self.temperature, memory, candidates, room).exp_()
            z.copy_(torch.where(z < 0, h.mean() * len(memory), z))  # no `if`: it would wait for the device
            loss, slope = noise_contrast(h.div_(z), (h.shape[1] - 1) / len(memory))
            gradient = weighted_rows(slope, memory, candidates, room) / self.temperature
        return WithGradient.apply(v, loss, gradient)  # known here, so autograd need not hold the scores or the memory

    def room(self, rows: int, memory: Tensor) -> Tensor:
        """Room for products with the whole memory, kept from step to step: memory that is new costs more to fill."""
        if self.kept is None or len(self.kept) < rows or self.kept.device != memory.device:
            self.kept = memory.new_empty(rows, len(memory))
        return self.kept[:rows]

    @torch.no_grad()
    def remember(self, memory: Tensor, index: Tensor, v: Tensor) -> None:
        """Move the samples' rows of a memory towards v."""
        memory[index] = F.normalize(self.momentum * memory[index] + (1 - self.momentum) * v, dim=1)


def dense(memory: Tensor, candidates: Tensor) -> bool:
    """Whether a product with the whole memory is faster than gathering the candidates' rows."""
    return len(memory) <= 64 * candidates.shape[1]


def products(v: Tensor, memory: Tensor, candidates: Tensor, room: Tensor | None) -> Tensor:
    """⟨v_b, m_c⟩ for each of a sample's candidates c, (B, 1 + K); with room (B, N), by way of all products."""
    if room is not None:
        return torch.mm(v, memory.T, out=room).gather(1, candidates)
    return torch.stack([memory[rows] @ one for one, rows in zip(v, candidates, strict=True)])


def weighted_rows(weights: Tensor, memory: Tensor, candidates: Tensor, room: Tensor | None) -> Tensor:
    """Σ_c w_bc·m_c over a sample's candidates c, (B, dim); with room (B, N), by way of all weights."""
    if room is not None:
        return room.zero_().scatter_add_(1, candidates, weights) @ memory
    return F.embedding_bag(candidates, memory, per_sample_weights=weights, mode="sum")


def noise_contrast(h: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """The loss (B,) from h (B, 1 + K), column 0 the sample itself, and its slope with respect to log h."""
    total = h + (noise + 1e-7)
    loss = (total[:, 0] / h[:, 0]).log() + (total[:, 1:] / noise).log_().sum(1)
    slope = total.reciprocal_().mul_(h)
    slope[:, 0] -= 1
    return loss, slope


class WithGradient(torch.autograd.Function):
    """A value (B,) whose gradient with respect to v (B, D) is given."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        """The value."""
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        """The given gradient, times the outer one."""
        (gradient,) = ctx.saved_tensors
        return outer[:, None] * gradient, None, None
