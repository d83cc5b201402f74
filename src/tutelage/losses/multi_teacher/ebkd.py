"""Kwon, Na, Lee, Kim: teachers weighted by their certainty."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.stacked_logits import ModelLogits, softened_kls, stack_logits
from tutelage.utils.options import Temperature


class EBKD(Response):
    r"""Match several teachers' softened class probabilities, weighted for each sample by their certainty.

    w_m = 1 − H_m / Σ_k H_k with H_m the entropy of softmax(t_m);
    L = w_m · T² · KL(softmax(t_m/T) ‖ softmax(s/T)), one value per teacher m and position; w sums to M − 1.

    Shapes: student (B, C, …) logits; teacher M of them, stacked (M, B, C, …) or a list; returns (M, B, …).
    Paper: Kwon, Na, Lee, Kim. ICASSP 2020, as in the CA-MKD authors' code.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    paper = "Kwon, Na, Lee, Kim. ICASSP 2020"
    list_inputs = ("teacher",)
    ignores = ("shift of logits",)

    temperature: Temperature = 4.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), [torch.randn(6, 5) for _ in range(3)], {}

    def forward(self, student: Tensor, teacher: ModelLogits) -> Tensor:
        teachers = stack_logits(teacher)
        entropy = -(teachers.softmax(2) * F.log_softmax(teachers, dim=2)).sum(2)
        fraction = entropy / entropy.sum(0).clamp_min(torch.finfo(entropy.dtype).tiny)
        return (1 - fraction) * softened_kls(student, teachers, self.temperature)
