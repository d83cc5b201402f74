"""Madry, Makelov, Schmidt, Tsipras, Vladu: projected gradient ascent on the inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tutelage.errors import ConfigError

Bound = float | Tensor
"""A number, or a tensor of one per channel that broadcasts against the inputs, for normalised images."""


def perturb(
    inputs: Tensor,
    objective: Callable[[Tensor], Tensor],
    *,
    start: Tensor | None = None,
    steps: int = 10,
    step_size: Bound = 2 / 255,
    radius: Bound = 8 / 255,
    low: Bound = 0.0,
    high: Bound = 1.0,
) -> Tensor:
    r"""Perturb inputs by projected gradient ascent with the gradient's sign, within a box around them.

    x' ← start;  `steps` times: x' ← clip(clip(x' + step_size·sign ∇_{x'} objective(x'), x ± radius), low, high).

    Args:
        inputs: x, (B, …).
        objective: maps x' to values of any shape, which are summed; it runs the models that the gradient should flow
            through: for RSLAD KL(softmax t(x) ‖ softmax s(x')), for AdaAD KL(softmax t(x') ‖ softmax s(x')), for ARD
            and IAD CE(s(x'), y). Set the models to evaluation first, so that batch statistics don't change.
        start: the initial x', by default x + 0.001·N(0, 1).
        steps: the number of steps.
        step_size: the step in the inputs' units.
        radius: the largest change of each value.
        low: the smallest allowed value.
        high: the largest allowed value.

    Returns:
        x', (B, …), without graph; the models' gradients aren't changed.

    Paper: Madry, Makelov, Schmidt, Tsipras, Vladu. ICLR 2018. arXiv:1706.06083. Start and steps as in Zi, Zhao, Ma,
    Jiang. ICCV 2021. arXiv:2108.07969.
    Raises: ConfigError if `steps` is below 0, or the start differs in shape.
    """
    moved = (inputs + 0.001 * torch.randn_like(inputs) if start is None else start).detach()
    if steps < 0 or moved.shape != inputs.shape:
        raise ConfigError(
            f"perturb(steps={steps}) of inputs {tuple(inputs.shape)} from a start {tuple(moved.shape)}: expected 0 or "
            "more steps, and a start of the inputs' shape."
        )
    inputs = inputs.detach()
    lower, upper = (torch.as_tensor(x).to(inputs) for x in (low, high))
    for _ in range(steps):
        moved.requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(objective(moved).sum(), moved)
        moved = moved.detach() + step_size * gradient.sign()
        moved = moved.maximum(inputs - radius).minimum(inputs + radius).clamp(lower, upper)
    return moved
