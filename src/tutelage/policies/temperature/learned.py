"""Li, Li, Yang, Zhao, Song, Luo, Li, Yang: a learned temperature that makes matching harder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tutelage.policies.base import Temperature
from tutelage.utils.options import EpochsOrZero, NonNegative, Number, Positive


class LearnedTemperature(Temperature):
    r"""Learn a temperature adversarially: it moves to the value at which the student matches worst.

    τ = t_start + t_end·σ(θ), where θ's gradient is multiplied by λ(e) = λ_end·½(1 − cos(π·min(e/ramp, 1))), and by
    λ_end from the start if the epoch e isn't known or ramp is 0. by_sample: θ = MLP([t, s]) for each sample or
    position, without gradient to s; the MLP has one hidden layer, as wide as both sides together.

    Shapes: student, teacher (B, C, …) logits; θ (1,), initially 1; τ (1,) or (B, …).
    Paper: Li, Li, Yang, Zhao, Song, Luo, Li, Yang. AAAI 2023. arXiv:2211.16231, λ_end = −1 over 10 epochs.
    Raises: ConfigError if t_start isn't above 0, or t_end or ramp is below 0.
    """

    name = "learned"
    paper = "Li, Li, Yang, Zhao, Song, Luo, Li, Yang. AAAI 2023. arXiv:2211.16231"

    t_start: Positive = 1.0
    t_end: NonNegative = 20.0
    lambda_end: Number = -1.0
    ramp: EpochsOrZero = 10.0
    by_sample: bool = False

    def build(self, student: Tensor, teacher: Tensor) -> None:
        if self.by_sample:
            width = student.shape[1] + teacher.shape[1]
            self.net = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)).to(student)
        else:
            self.theta = nn.Parameter(student.new_ones(1))

    def gradient_factor(self, epoch: float | None) -> float:
        """Return λ(e)."""
        if epoch is None or epoch >= self.ramp:
            return self.lambda_end
        return self.lambda_end * (1 - math.cos(math.pi * epoch / self.ramp)) / 2

    def sample_theta(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return θ for each sample or position."""
        return self.net(torch.cat([teacher, student.detach()], dim=1).movedim(1, -1)).squeeze(-1)

    def forward(self, student: Tensor, teacher: Tensor, *, epoch: float | None = None) -> Tensor:
        theta = self.sample_theta(student, teacher) if self.by_sample else self.theta
        theta = torch.lerp(theta.detach(), theta, self.gradient_factor(epoch))  # θ, its gradient times λ
        return self.t_start + self.t_end * theta.sigmoid()
