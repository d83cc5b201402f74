"""Zheng, Yang: a temperature on the teacher's side only."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import kl
from tutelage.utils.options import Temperature


class TTM(Response):
    r"""Match the teacher's softened class probabilities with the student's probabilities, which aren't softened.

    L = KL(softmax(t/T) ‖ softmax(s)), one value per position, without T²; softmax(t/T) ∝ p^γ, p = softmax(t), γ = 1/T.
    weighted (WTTM): times U = Σ_c p_c^γ, which is larger where the teacher is less certain.

    Shapes: student, teacher (B, C, …) logits; returns (B, …).
    Paper: Zheng, Yang. ICLR 2024. arXiv:2402.11148: γ and the weight β relative to the task loss are tuned for each
    pair of networks; T = 4 and β = 1 are only starting points.
    Raises: ConfigError if the temperature isn't above 0, or the shapes differ.
    """

    paper = "Zheng, Yang. ICLR 2024. arXiv:2402.11148"
    zero_at_equal = False
    ignores = ("shift of logits",)

    temperature: Temperature = 4.0
    weighted: bool = False

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        log_power = F.log_softmax(teacher, dim=1) / self.temperature
        values = kl(F.log_softmax(log_power, dim=1), F.log_softmax(student, dim=1))
        return log_power.logsumexp(1).exp() * values if self.weighted else values
