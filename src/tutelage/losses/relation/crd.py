"""Tian, Krishnan, Isola: contrastive representation distillation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tutelage.errors import ConfigError
from tutelage.losses.base import Relation
from tutelage.utils.options import Count, FractionBelowOne, Temperature, Width


class CRD(Relation):
    r"""Contrast each sample's embedding with the other model's embeddings of the same sample and of different samples.

    v = unit(W·f) for either side;  h(v, m) = exp(⟨v, m⟩/τ) / Z, m a row of the other side's memory;
    L = −log h₀/(h₀ + K/N) − Σ_k log (K/N)/(h_k + K/N) with h₀ of the sample itself and h_k of K others drawn from N;
    summed over both sides, one value per sample. The memories, m ← unit(μ·m + (1−μ)·v), are read before they are
    updated, and updated in training only. Z = N·mean exp(⟨v, m⟩/τ) of the first batch, then fixed, for each side.

    Shapes: student (B, …), teacher (B, …), flattened, index (B,) int64 below N; returns (B,). Negatives are drawn
    uniformly from the other samples, with torch's generator, unless contrast_index (B, 1 + K) lists them, after the
    sample itself. Both embeddings W are trained. Memory: 2·N·dim numbers. Each replica keeps its own memories.
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
    momentum: FractionBelowOne = 0.5

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        if samples < 2:
            raise ConfigError(
                f"CRD: the data has {samples} samples, expected at least 2, since negatives are drawn from the others."
            )
        self.embed_student = nn.Linear(student[0].numel(), self.dim).to(student)
        self.embed_teacher = nn.Linear(teacher[0].numel(), self.dim).to(student)
        bound = (3 / self.dim) ** 0.5  # rows of unit length on average
        self.memory_student = nn.Buffer(student.new_empty(samples, self.dim).uniform_(-bound, bound))
        self.memory_teacher = nn.Buffer(student.new_empty(samples, self.dim).uniform_(-bound, bound))
        self.scratch: Tensor | None = None
        self.z_student = nn.Buffer(student.new_tensor(-1.0))  # −1: not yet estimated
        self.z_teacher = nn.Buffer(student.new_tensor(-1.0))

    def forward(
        self, student: Tensor, teacher: Tensor, *, index: Tensor, contrast_index: Tensor | None = None
    ) -> Tensor:
        s = F.normalize(self.embed_student(student.flatten(1)), dim=1)
        t = F.normalize(self.embed_teacher(teacher.flatten(1)), dim=1)
        candidates = self.draw_candidates(index) if contrast_index is None else contrast_index
        loss = self.contrast(s, self.memory_teacher, self.z_student, candidates)
        loss = loss + self.contrast(t, self.memory_student, self.z_teacher, candidates)
        if self.training:
            self.update_memory(self.memory_student, index, s)
            self.update_memory(self.memory_teacher, index, t)
        return loss

    def draw_candidates(self, index: Tensor) -> Tensor:
        """Return each sample's number and K numbers of other samples: (B,) → (B, 1 + K)."""
        shape = len(index), 1 + self.negatives
        candidates = torch.randint(len(self.memory_student) - 1, shape, device=index.device)
        candidates += candidates >= index[:, None]
        candidates[:, 0] = index
        return candidates

    def contrast(self, v: Tensor, memory: Tensor, z: Tensor, candidates: Tensor) -> Tensor:
        """Return the noise-contrastive loss (B,) of embeddings (B, dim) with the candidates' rows of a memory."""
        with torch.no_grad():
            out = self.product_buffer(len(v), memory) if dense(memory, candidates) else None
            h = products(v.to(memory.dtype) / self.temperature, memory, candidates, out).exp_()
            z.copy_(torch.where(z < 0, h.mean() * len(memory), z))  # an `if` would synchronise with the device
            loss, slope = noise_contrast(h.div_(z), (h.shape[1] - 1) / len(memory))
            gradient = weighted_rows(slope, memory, candidates, out) / self.temperature
        return WithGradient.apply(v, loss, gradient)  # autograd then keeps neither scores nor memory

    def product_buffer(self, rows: int, memory: Tensor) -> Tensor:
        """Return a buffer for products with the full memory, reused across steps: allocating a new one is slower."""
        if self.scratch is None or len(self.scratch) < rows or self.scratch.device != memory.device:
            self.scratch = memory.new_empty(rows, len(memory))
        return self.scratch[:rows]

    @torch.no_grad()
    def update_memory(self, memory: Tensor, index: Tensor, v: Tensor) -> None:
        """Move the samples' rows of a memory towards v."""
        memory[index] = F.normalize(self.momentum * memory[index] + (1 - self.momentum) * v, dim=1)


def dense(memory: Tensor, candidates: Tensor) -> bool:
    """Return whether a product with the full memory is faster than gathering the candidates' rows."""
    return len(memory) <= 64 * candidates.shape[1]


def products(v: Tensor, memory: Tensor, candidates: Tensor, out: Tensor | None) -> Tensor:
    """Return ⟨v_b, m_c⟩ of each sample's candidates c, (B, 1 + K); with a buffer `out` (B, N), by all products."""
    if out is not None:
        return torch.mm(v, memory.T, out=out).gather(1, candidates)
    return torch.stack([memory[rows] @ embedding for embedding, rows in zip(v, candidates, strict=True)])


def weighted_rows(weights: Tensor, memory: Tensor, candidates: Tensor, out: Tensor | None) -> Tensor:
    """Return Σ_c w_bc·m_c over each sample's candidates c, (B, dim); with a buffer `out` (B, N), by all weights."""
    if out is not None:
        return out.zero_().scatter_add_(1, candidates, weights) @ memory
    return F.embedding_bag(candidates, memory, per_sample_weights=weights, mode="sum")


def noise_contrast(h: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Return the loss (B,) from h (B, 1 + K), with the sample itself in column 0, and its derivative by log h."""
    total = h + (noise + 1e-7)
    loss = (total[:, 0] / h[:, 0]).log() + (total[:, 1:] / noise).log_().sum(1)
    slope = total.reciprocal_().mul_(h)
    slope[:, 0] -= 1
    return loss, slope


class WithGradient(torch.autograd.Function):
    """A value (B,) whose gradient with respect to v (B, D) is passed in."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        """Return the value."""
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        """Return the stored gradient times the incoming one."""
        (gradient,) = ctx.saved_tensors
        return outer[:, None] * gradient, None, None
