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
    an optimiser that `SeparatesTeacherGradients`: g_kd is what was stashed, g_ce what is there at `step`.
    Paper: Zhao, Cui, Song, Liang. ICCV 2023. arXiv:2307.08436.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float, gap: float, decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "gap": gap, "weight_decay": decay})
        self.taught: dict[Tensor, Tensor] = {}

    def stash_teacher_gradients(self) -> None:
        """Keep the gradients as those of the teacher's terms."""
        for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            self.taught[p], p.grad = p.grad, None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step from both gradients."""
        for group in self.param_groups:
            lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
            for p in group["params"]:
                taught, truth = self.taught.pop(p, None), p.grad
                gap = group["gap"] if taught is not None and truth is not None else 0.0
                if truth is not None:
                    self._move(p, "truth", truth.add(p, alpha=decay), momentum - gap, lr)
                if taught is not None:
                    own = taught if gap else taught.add(p, alpha=decay)
                    self._move(p, "taught", own, momentum + gap, lr)

    def _move(self, p: Tensor, which: str, gradient: Tensor, momentum: float, lr: float) -> None:
        state = self.state[p]
        state[which] = state[which].mul_(momentum).add_(gradient) if which in state else gradient.clone()
        p.sub_(state[which], alpha=lr)
