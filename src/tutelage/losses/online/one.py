"""Lan, Zhu, Gong: branches learn from their gated ensemble."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.stacked_logits import ModelLogits, ce_of_each, softened_kls, stack_logits
from tutelage.utils.options import Fraction, NonNegative, Temperature


class ONE(Response):
    r"""Train all branches at once: each branch and their ensemble on the labels, and each branch to match the ensemble.

    L = Σ_m CE(z_m, y) + CE(z_e, y) + w·T²·Σ_m KL(softmax(z_e/T) + ε ‖ softmax(z_m/T)), z_e without gradient in the last
    term: the parts "truth" and "ensemble".

    Shapes: student the M branches' logits, stacked (M, B, C, …) or a list; teacher their gated sum z_e (B, C, …),
    trained too; targets (B, …) int64; mutual_ramp: a factor of w; each part is (B, …), summed over branches.
    Paper: Lan, Zhu, Gong. NeurIPS 2018. arXiv:1806.04606, T = 3; the authors' code has ε = 10⁻⁷ and raises w over
    80 epochs.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    paper = "Lan, Zhu, Gong. NeurIPS 2018. arXiv:1806.04606"
    list_inputs = ("student",)
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    temperature: Temperature = 3.0
    consistency_weight: NonNegative = 1.0
    eps: Fraction = 0.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        branches = [torch.randn(6, 5) for _ in range(3)]
        return branches, torch.randn(6, 5), {"targets": torch.randint(5, (6,))}

    def forward(
        self, student: ModelLogits, teacher: Tensor, *, targets: Tensor, mutual_ramp: float = 1.0
    ) -> dict[str, Tensor]:
        branches = stack_logits(student)
        matched = softened_kls(branches, teacher.detach(), self.temperature, self.eps)
        return {
            "truth": ce_of_each(branches, targets).sum(0) + ce_of_each(teacher.unsqueeze(0), targets)[0],
            "ensemble": mutual_ramp * self.consistency_weight * matched.sum(0),
        }
