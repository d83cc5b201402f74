"""Kim, Hyun, Chung, Kwak: sub-networks and the classifier of their fused features teach each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.divergence import softened_kl
from tutelage.losses.functional.stacked_logits import ModelLogits, ce_of_each, softened_kls, stack_logits
from tutelage.utils.options import Fraction, NonNegative, Temperature


class FFL(Response):
    r"""Train sub-networks and their fused classifier on the labels; they match it, and it matches their mean logits.

    L = Σ_m CE(z_m, y) + CE(z_f, y) + w·(Σ_m T²·KL(p(z_f) + ε ‖ p(z_m)) + T²·KL(p(mean_m z_m) + ε ‖ p(z_f))) with
    p(z) = softmax(z/T), no gradient flows to what is matched: the parts "truth", "fused" and "ensemble".

    Shapes: student the M sub-networks' logits, stacked (M, B, C, …) or a list; teacher the fused classifier's z_f
    (B, C, …), which is trained; targets (B, …) int64; mutual_ramp: a factor of w; each part is (B, …), summed over
    sub-networks.
    Paper: Kim, Hyun, Chung, Kwak. ICPR 2020. arXiv:1904.09058, T = 3; the authors' code has ε = 10⁻⁷ and raises w over
    80 epochs.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    paper = "Kim, Hyun, Chung, Kwak. ICPR 2020. arXiv:1904.09058"
    list_inputs = ("student",)
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    temperature: Temperature = 3.0
    consistency_weight: NonNegative = 1.0
    eps: Fraction = 0.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        networks = [torch.randn(6, 5) for _ in range(3)]
        return networks, torch.randn(6, 5), {"targets": torch.randint(5, (6,))}

    def forward(
        self, student: ModelLogits, teacher: Tensor, *, targets: Tensor, mutual_ramp: float = 1.0
    ) -> dict[str, Tensor]:
        networks = stack_logits(student)
        fused = softened_kls(networks, teacher.detach(), self.temperature, self.eps).sum(0)
        ensemble = softened_kl(teacher, networks.detach().mean(0), self.temperature, self.eps)
        return {
            "truth": ce_of_each(networks, targets).sum(0) + ce_of_each(teacher.unsqueeze(0), targets)[0],
            "fused": mutual_ramp * self.consistency_weight * fused,
            "ensemble": mutual_ramp * self.consistency_weight * ensemble,
        }
