"""Malinin, Mlodozeniec, Gales: the distribution of an ensemble's predictions, not only their mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.stacked_logits import ModelLogits, stack_logits
from tutelage.utils.options import EpochsOrZero, NonNegative, OpenFraction, Temperature


class EnDD(Response):
    r"""Maximise the likelihood of the teachers' probabilities under the Dirichlet distribution of the student's logits.

    α = exp(s/T), α₀ = Σ_c α_c;  p_m = (1−ε)·softmax(t_m/T) + ε/C;
    L = T²·[Σ_c log Γ(α_c + δ) − log Γ(α₀ + δ) − Σ_c (α_c − 1)·mean_m log(p_mc + δ)]: the negative log-density, which
    may be below 0, times T² unless square=False.
    T = 1 + (T₀ − 1)·max(0, 1 − e/anneal) in training (e epochs in); T₀ throughout if anneal is 0 or e isn't known.

    Shapes: student (B, C, …) logits; teacher M of them, stacked (M, B, C, …) or a list; epoch a number; returns (B, …).
    log α is held within ±40, beyond which a logit gets no gradient.
    Paper: Malinin, Mlodozeniec, Gales. ICLR 2020. arXiv:1905.00076: T₀ = 10 falls to 1, over 30 epochs by our reading.
    T², ε = 10⁻³ and δ = 10⁻⁸ (`smoothing`) are as in the authors' code; the paper's density has no T². It is
    trained without the task loss.
    Raises: ConfigError if T₀ isn't above 0, anneal or δ is below 0, ε not in (0, 1), or shapes differ.
    """

    name = "endd"
    paper = "Malinin, Mlodozeniec, Gales. ICLR 2020. arXiv:1905.00076"
    list_inputs = ("teacher",)
    zero_at_equal = False
    task_loss_weight = 0.0

    temperature: Temperature = 10.0
    anneal: EpochsOrZero = 30.0
    eps: OpenFraction = 1e-3
    smoothing: NonNegative = 1e-8
    square: bool = True

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), [torch.randn(6, 5) for _ in range(3)], {}

    def temperature_at(self, epoch: float | None) -> float:
        """Return T."""
        if epoch is None or not self.anneal:
            return self.temperature
        return 1 + (self.temperature - 1) * max(0.0, 1 - epoch / self.anneal)

    def forward(self, student: Tensor, teacher: ModelLogits, *, epoch: float | None = None) -> Tensor:
        teachers, temperature = stack_logits(teacher), self.temperature_at(epoch)
        require_same_shape(self, student, teachers[0])
        alpha, tiny = (student / temperature).clamp(-40, 40).exp(), self.smoothing
        p = torch.lerp((teachers / temperature).softmax(2), torch.full_like(teachers, 1 / student.shape[1]), self.eps)
        log_p = (p + tiny).log().mean(0)
        values = (alpha + tiny).lgamma().sum(1) - (alpha.sum(1) + tiny).lgamma() - ((alpha - 1) * log_p).sum(1)
        return values * temperature**2 if self.square else values
