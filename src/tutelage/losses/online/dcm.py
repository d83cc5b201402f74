"""Yao, Sun: classifiers at several depths of two peers match each other, depth by depth and across."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import kl, log_plus
from tutelage.losses.functional.stacked_logits import ModelLogits, ce_of_each, stack_logits
from tutelage.utils.options import NonNegative, Temperature


class DCM(Response):
    r"""Train each of a peer's classifiers on the labels, and match it with each classifier of another peer.

    L = CE(z_Q, y) + α·Σ_{q<Q} CE(z_q, y) + β·Σ_{q=r} D_qr + γ·Σ_{q≠r} D_qr with
    D_qr = T²·KL(p(t_r) ‖ p(z_q)), p(z) = (softmax(z/T) + ε) / (1 + C·ε), t without gradient: the parts "truth",
    "shallow", "same" and "cross". If the peers have different numbers of classifiers, depths are counted from the last.

    Shapes: student this peer's logits z_1 … z_Q, shallow to deep, the last one its final output, stacked (Q, B, C, …)
    or a list; teacher the other peer's, likewise; targets (B, …) int64; each part is (B, …), summed over classifiers.
    Paper: Yao, Sun. ECCV 2020. arXiv:2008.07816, α = β = γ = 1, T = 1, ε = 0. The authors' code has ε = 10⁻⁸.
    Raises: ConfigError if the temperature isn't above 0, ε is below 0, or shapes differ.
    """

    paper = "Yao, Sun. ECCV 2020. arXiv:2008.07816"
    list_inputs = ("student", "teacher")
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    alpha: NonNegative = 1.0
    beta: NonNegative = 1.0
    gamma: NonNegative = 1.0
    temperature: Temperature = 1.0
    eps: NonNegative = 0.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        student, teacher = ([torch.randn(6, 5) for _ in range(3)] for _ in range(2))
        return student, teacher, {"targets": torch.randint(5, (6,))}

    def forward(self, student: ModelLogits, teacher: ModelLogits, *, targets: Tensor) -> dict[str, Tensor]:
        student_logits, teacher_logits = stack_logits(student), stack_logits(teacher).detach()
        require_same_shape(self, student_logits[0], teacher_logits[0])
        *shallow, task_loss = ce_of_each(student_logits, targets)
        log_s, log_t = ([self.log_p(z) for z in logits] for logits in (student_logits, teacher_logits))
        divergences = self.temperature**2 * torch.stack([torch.stack([kl(t, s) for t in log_t]) for s in log_s])
        same = divergences.diagonal(len(teacher_logits) - len(student_logits)).sum(-1)
        return {
            "truth": task_loss,
            "shallow": self.alpha * sum(shallow, torch.zeros_like(task_loss)),
            "same": self.beta * same,
            "cross": self.gamma * (divergences.sum((0, 1)) - same),
        }

    def log_p(self, logits: Tensor) -> Tensor:
        """Return log p(z), (B, C, …)."""
        log_p = F.log_softmax(logits / self.temperature, dim=1)
        return log_plus(log_p, self.eps) - math.log1p(logits.shape[1] * self.eps)
