"""Jafari, Rezagholizadeh, Sharma, Ghodsi: logits that grow to the teacher's."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, same_shape
from tutelage.utils.options import Count, Epochs


class AnnealingKD(Response):
    r"""Match the teacher's logits, shrunk at first and step by step let grow to their size.

    Φ = 1 − (τ − 1)/τ_max, τ = τ_max, τ_max − 1, …, 1, `epochs` each;  L = (s − Φ·t)², one value per logit.

    Shapes: student, teacher (B, C, …) logits; epoch how far training is; returns (B, C, …). From τ_max·epochs on Φ = 1.
    Paper: Jafari, Rezagholizadeh, Sharma, Ghodsi. EACL 2021. arXiv:2104.07163, phase 1, which has no loss of the truth;
    phase 2 is training by the truth alone, from phase 1's student (method=annealing_kd is both, with steps to fit its
    epochs). As in the authors' code phase 1 has 200 epochs, so 20 a step.
    Raises: ConfigError if τ_max or `epochs` isn't above 0, or the two differ in shape.
    """

    name = "annealing_kd"
    paper = "Jafari, Rezagholizadeh, Sharma, Ghodsi. EACL 2021. arXiv:2104.07163"
    zero_at_equal = False
    task_loss_weight = 0.0

    max_temperature: Count = 10
    epochs: Epochs = 20.0

    def forward(self, student: Tensor, teacher: Tensor, *, epoch: float) -> Tensor:
        same_shape(self, student, teacher)
        phi = min(int(epoch / self.epochs) + 1, self.max_temperature) / self.max_temperature
        return (student - phi * teacher).pow(2)
