"""Jafari, Rezagholizadeh, Sharma, Ghodsi: regression to the teacher's logits at a growing scale."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.utils.options import Count, Epochs


class AnnealingKD(Response):
    r"""Match the teacher's logits, scaled down at first and step by step scaled up to their full size.

    Φ = 1 − (τ − 1)/τ_max, τ = τ_max, τ_max − 1, …, 1, for `epochs` epochs each;  L = (s − Φ·t)², one value per logit.

    Shapes: student, teacher (B, C, …) logits; epoch: the training progress in epochs; returns (B, C, …). From
    τ_max·epochs on Φ = 1.
    Paper: Jafari, Rezagholizadeh, Sharma, Ghodsi. EACL 2021. arXiv:2104.07163, phase 1, which has no supervised loss;
    phase 2 trains phase 1's student on the labels alone (method=annealing_kd runs both, with steps that fit its
    epochs). As in the authors' code phase 1 has 200 epochs, so 20 per step.
    Raises: ConfigError if τ_max or `epochs` isn't above 0, or the shapes differ.
    """

    name = "annealing_kd"
    paper = "Jafari, Rezagholizadeh, Sharma, Ghodsi. EACL 2021. arXiv:2104.07163"
    zero_at_equal = False
    task_loss_weight = 0.0

    max_temperature: Count = 10
    epochs: Epochs = 20.0

    def forward(self, student: Tensor, teacher: Tensor, *, epoch: float) -> Tensor:
        require_same_shape(self, student, teacher)
        phi = min(int(epoch / self.epochs) + 1, self.max_temperature) / self.max_temperature
        return (student - phi * teacher).pow(2)
