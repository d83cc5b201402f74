"""Losses of rows over large vocabularies, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNKS = 128  # at most
SMALLEST = 2**17  # logits in a chunk, at least

Formula = Callable[..., Tensor]
"""Values (N,) from the student's rows (N, V) and others' (N, …), each row's from that row alone."""


def by_chunks(formula: Formula, tokens: Tensor, student: Tensor, *others: Tensor) -> Tensor:
    """formula(student[tokens], *(x[tokens] for x in others)), in the memory of one gradient and a chunk of rows.

    The gradient to the student is computed along with the values, as large as its logits; beside it there is only what
    the formula needs for 1/128 of the rows, or 2¹⁷ logits if these are more. Where another side needs a gradient, or in
    a graph that torch.compile makes, all rows are computed at once.

    Shapes: tokens (…) bool: the rows that count; student (…, V) logits; others (…) or (…, V); returns (N,).
    Raises: RuntimeError on a gradient of the gradient.
    """
    if torch.compiler.is_compiling() or any(x.requires_grad for x in others):
        return formula(student[tokens], *(x[tokens] for x in others))
    if torch.is_grad_enabled() and student.requires_grad:
        return WithGradient.apply(formula, tokens, student, *others)
    return values_of(formula, tokens, student, *others)


def values_of(
    formula: Formula, tokens: Tensor, student: Tensor, *others: Tensor, gradient: Tensor | None = None
) -> Tensor:
    """Values (N,); each one's gradient goes to the place of its row in `gradient` (…, V), if that is given."""
    wanted = gradient is not None
    values = torch.empty(tokens.shape, dtype=torch.promote_types(student.dtype, torch.float32), device=student.device)
    for rows in chunks(tokens, student):
        leaf = student[rows].detach().requires_grad_(wanted)
        with torch.set_grad_enabled(wanted):
            value = formula(leaf, *(x[rows] for x in others))
        if gradient is not None:
            (gradient[rows],) = torch.autograd.grad(value, leaf, torch.ones_like(value))
        values[rows] = value.detach().to(values)  # a list of small tensors would keep the heap in pieces
    return values[tokens].to(value.dtype)


def chunks(tokens: Tensor, logits: Tensor) -> list[tuple[Tensor, ...]]:
    """Indices of the rows that count, chunk by chunk."""
    index = tokens.nonzero()
    size = max(-(-len(index) // CHUNKS), SMALLEST // logits.shape[-1], 1)
    return [chunk.unbind(1) for chunk in index.split(size)]


class WithGradient(torch.autograd.Function):
    """Values whose gradient is ready with them."""

    @staticmethod
    def forward(ctx: Any, formula: Formula, tokens: Tensor, student: Tensor, *others: Tensor) -> Tensor:
        """The values."""
        ctx.formula, ctx.gradient = formula, torch.zeros_like(student)
        device = student.device.type
        ctx.precision = {"dtype": torch.get_autocast_dtype(device), "enabled": torch.is_autocast_enabled(device)}
        ctx.save_for_backward(tokens, student, *others)
        return values_of(formula, tokens, student, *others, gradient=ctx.gradient)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        """Each row's gradient, scaled in place; made again for a second time through a graph that was retained."""
        tokens, student, *others = ctx.saved_tensors
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            gradient = torch.zeros_like(student)
            with torch.autocast(student.device.type, **ctx.precision):
                values_of(ctx.formula, tokens, student, *others, gradient=gradient)
        gradient *= outer.new_zeros(tokens.shape).masked_scatter(tokens, outer)[..., None]
        return None, None, gradient, *[None] * len(others)
