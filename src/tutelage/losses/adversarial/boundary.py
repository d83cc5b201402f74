"""Heo, Lee, Yun, Choi: inputs at the teacher's decision boundary."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tutelage.errors import ConfigError


def boundary_samples(
    teacher: Callable[[Tensor], Tensor],
    inputs: Tensor,
    towards: Tensor,
    *,
    steps: int = 10,
    step_size: float = 0.3,
    eps: float = 1e-4,
    low: float = -2.5,
    high: float = 2.5,
) -> Tensor:
    r"""Move inputs towards another class until the teacher's prediction changes.

    k the target class, b the class that the teacher predicts for x, D = t_b(x') − t_k(x');
    `steps` times, while argmax t(x') = b:  x' ← clip(x' − η·(D + ε)·∇D/‖∇D‖₂, low, high), from x' = x.

    Args:
        teacher: maps inputs (B, …) to logits (B, C), in evaluation mode, so that batch statistics don't change.
        inputs: x, (B, …); choose inputs that both models classify correctly.
        towards: k, (B,) int64, as `other_classes` draws it.
        steps: the number of steps.
        step_size: η.
        eps: ε.
        low: the smallest allowed value.
        high: the largest allowed value.

    Returns:
        x', (B, …), without graph; the teacher's gradients aren't changed. Student and teacher are then compared at x',
        by `soft_ce` at T = 3.

    Paper: Heo, Lee, Yun, Choi. Knowledge distillation with adversarial samples supporting decision boundary. AAAI 2019.
    arXiv:1805.05532; steps, η, ε and the bounds (for normalised images) as in the authors' code. No published numbers
    were compared.
    Raises: ConfigError if `steps` is below 1.
    """
    if steps < 1:
        raise ConfigError(f"boundary_samples(steps={steps}): expected 1 or more.")
    moved, first = inputs.detach().clone(), towards
    for step in range(steps):
        moved.requires_grad_()
        with torch.enable_grad():
            logits = teacher(moved)
            decision = logits.detach().argmax(1)
            first = decision if step == 0 else first
            lead = (logits.gather(1, first[:, None]) - logits.gather(1, towards[:, None])).squeeze(1)
            (slope,) = torch.autograd.grad(lead.sum(), moved)
        moved = moved.detach()
        length = step_size * (lead.detach() + eps) / slope.flatten(1).norm(dim=1).clamp_min(1e-12)
        length = torch.where(decision == first, length, 0).reshape(-1, *[1] * (inputs.dim() - 1))
        moved = torch.where(length != 0, (moved - length * slope).clamp(low, high), moved)
    return moved


def other_classes(teacher: Tensor, targets: Tensor) -> Tensor:
    """Draw for each sample a class other than the true one, by the teacher's logits (B, C); (B,) int64."""
    p = teacher.detach().float().scatter(1, targets[:, None], -torch.inf).softmax(1)
    return torch.multinomial(p, 1).squeeze(1)
