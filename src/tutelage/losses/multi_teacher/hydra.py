"""Tran, Veeling, Roth, Swiatkowski, Dillon, Snoek, Mandt, Salimans, Nowozin, Jenatton: a head for each teacher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.stacked_logits import ModelLogits, softened_kls, stack_logits
from tutelage.utils.options import Temperature


class HydraKL(Response):
    r"""Match each of the student's heads with its own teacher's softened class probabilities.

    L = T² · KL(softmax(t_m/T) ‖ softmax(s_m/T)), one value per head m and position.

    Shapes: student and teacher M logits (B, C, …) each, stacked (M, B, C, …) or a list; returns (M, B, …).
    Paper: Tran, Veeling, Roth, Swiatkowski, Dillon, Snoek, Mandt, Salimans, Nowozin, Jenatton. 2020. arXiv:2001.04694,
    eq. 4, trained without the task loss. T = 4 as for other losses of several teachers. No published numbers were
    compared.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    name = "hydra"
    paper = "Tran, Veeling, Roth, et al. 2020. arXiv:2001.04694"
    list_inputs = ("student", "teacher")
    task_loss_weight = 0.0
    ignores = ("shift of logits",)

    temperature: Temperature = 4.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return [torch.randn(6, 5) for _ in range(3)], [torch.randn(6, 5) for _ in range(3)], {}

    def forward(self, student: ModelLogits, teacher: ModelLogits) -> Tensor:
        return softened_kls(stack_logits(student), stack_logits(teacher), self.temperature)
