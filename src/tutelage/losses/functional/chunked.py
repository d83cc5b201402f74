"""Losses over large vocabularies, computed on chunks of rows to save memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNKS = 128  # the most chunks
SMALLEST = 2**17  # the fewest logits in a chunk

Formula = Callable[..., Tensor]
"""Maps the student's rows (N, V) and the other inputs' rows (N, …) to values (N,), each from its own row alone."""


def apply_in_chunks(formula: Formula, tokens: Tensor, student: Tensor, *inputs: Tensor) -> Tensor:
    """Return formula(student[tokens], *(x[tokens] for x in inputs)) in the memory of one gradient and a chunk of rows.

    The gradient to the student is computed along with the values and is as large as its logits; in addition, only what
    the formula needs for 1/128 of the rows is allocated, or for 2¹⁷ logits if these are more. All rows are computed at
    once if another input requires a gradient, or in a graph that torch.compile makes.

    Shapes: tokens (…) bool, True for the rows that count; student (…, V) logits; inputs (…) or (…, V); returns (N,).
    Raises: RuntimeError if the gradient is itself differentiated.
    """
    if torch.compiler.is_compiling() or any(x.requires_grad for x in inputs):
        return formula(student[tokens], *(x[tokens] for x in inputs))
    if torch.is_grad_enabled() and student.requires_grad:
        return ChunkGradient.apply(formula, tokens, student, *inputs)
    return compute_values(formula, tokens, student, *inputs)


def compute_values(
    formula: Formula, tokens: Tensor, student: Tensor, *inputs: Tensor, gradient: Tensor | None = None
) -> Tensor:
    """Return values (N,), and write each one's gradient to its row of `gradient` (…, V) if that is provided."""
    needs_grad = gradient is not None
    values = torch.empty(tokens.shape, dtype=torch.promote_types(student.dtype, torch.float32), device=student.device)
    for rows in split_rows(tokens, student):
        leaf = student[rows].detach().requires_grad_(needs_grad)
        with torch.set_grad_enabled(needs_grad):
            value = formula(leaf, *(x[rows] for x in inputs))
        if gradient is not None:
            (gradient[rows],) = torch.autograd.grad(value, leaf, torch.ones_like(value))
        values[rows] = value.detach().to(values)  # a list of small tensors would fragment the heap
    return values[tokens].to(value.dtype)


def split_rows(tokens: Tensor, logits: Tensor) -> list[tuple[Tensor, ...]]:
    """Return the indices of the rows that count, split into chunks."""
    index = tokens.nonzero()
    size = max(-(-len(index) // CHUNKS), SMALLEST // logits.shape[-1], 1)
    return [chunk.unbind(1) for chunk in index.split(size)]


class ChunkGradient(torch.autograd.Function):
    """A function that computes its gradient in the forward pass, together with its values."""

    @staticmethod
    def forward(ctx: Any, formula: Formula, tokens: Tensor, student: Tensor, *inputs: Tensor) -> Tensor:
        """Compute the values, and their gradient to the student."""
        ctx.formula, ctx.gradient = formula, torch.zeros_like(student)
        device = student.device.type
        ctx.precision = {"dtype": torch.get_autocast_dtype(device), "enabled": torch.is_autocast_enabled(device)}
        ctx.save_for_backward(tokens, student, *inputs)
        return compute_values(formula, tokens, student, *inputs, gradient=ctx.gradient)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        """Scale each row's gradient in place; recompute it on a second backward through a retained graph."""
        tokens, student, *inputs = ctx.saved_tensors
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            gradient = torch.zeros_like(student)
            with torch.autocast(student.device.type, **ctx.precision):
                compute_values(ctx.formula, tokens, student, *inputs, gradient=gradient)
        gradient *= outer.new_zeros(tokens.shape).masked_scatter(tokens, outer)[..., None]
        return None, None, gradient, *[None] * len(inputs)
