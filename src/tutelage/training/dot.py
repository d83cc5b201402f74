"""Distillation-oriented training: SGD with two momenta."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class DOT(Optimizer):
    """SGD with one momentum for the gradient of the distillation terms, and another for that of the task loss.

    v_kd ← (μ + Δ)·v_kd + g_kd;  v_ce ← (μ − Δ)·v_ce + g_ce + λθ;  θ ← θ − η·(v_kd + v_ce)

    A parameter that only one of the two reaches has momentum μ, and the decay λ, as in the authors' code. It is
    an optimiser that `SeparatesTeacherGradients`: g_kd is the stashed gradient, g_ce the gradient at `step`.
    Paper: Zhao, Cui, Song, Liang. ICCV 2023. arXiv:2307.08436.

    Args:
        parameters: the parameters θ.
        lr: the learning rate η.
        momentum: μ.
        gap: Δ, the difference of the momenta from μ.
        decay: the weight decay λ.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float, gap: float, decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "gap": gap, "weight_decay": decay})
        self.teacher_gradients: dict[Tensor, Tensor] = {}

    def stash_teacher_gradients(self) -> None:
        """Store the current gradients as those of the distillation terms, and clear them."""
        for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            self.teacher_gradients[p], p.grad = p.grad, None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the parameters from both gradients."""
        for group in self.param_groups:
            lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
            for p in group["params"]:
                teacher_gradient, task_gradient = self.teacher_gradients.pop(p, None), p.grad
                gap = group["gap"] if teacher_gradient is not None and task_gradient is not None else 0.0
                if task_gradient is not None:
                    self._move(p, "truth", task_gradient.add(p, alpha=decay), momentum - gap, lr)
                if teacher_gradient is not None:
                    decayed = teacher_gradient if gap else teacher_gradient.add(p, alpha=decay)
                    self._move(p, "taught", decayed, momentum + gap, lr)

    def _move(self, p: Tensor, key: str, gradient: Tensor, momentum: float, lr: float) -> None:
        state = self.state[p]
        state[key] = state[key].mul_(momentum).add_(gradient) if key in state else gradient.clone()
        p.sub_(state[key], alpha=lr)
