"""Yuan, Tay, Li, Wang, Feng: a virtual teacher computed from the label."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.target_class import target_mask
from tutelage.utils.options import OpenFraction, Temperature


class TfKDReg(Response):
    r"""Match a virtual teacher with probability a for the true class and equal probabilities for the others.

    u = a on the true class, (1−a)/(C−1) on each other;  L = KL(softmax(log u/T) ‖ softmax(s/T)).

    Shapes: student (B, C, …) logits, targets (B, …) int64; no teacher; returns (B, …).
    Paper: Yuan, Tay, Li, Wang, Feng. Revisiting knowledge distillation via label smoothing regularization. CVPR 2020.
    arXiv:1909.11723, eq. 9–10, a = 0.99, T = 20 and weight α = 0.1 alongside 1 − α of the task loss. The authors' code
    (`of_probabilities=True`) has softmax(u/T) and the student at T = 1, and averages over classes with a multiplier.
    Raises: ConfigError if the temperature isn't above 0, a not in (0, 1), or the targets aren't class numbers.
    """

    name = "tf_kd_reg"
    paper = "Yuan, Tay, Li, Wang, Feng. CVPR 2020. arXiv:1909.11723"
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    default_weight = 0.1
    task_loss_weight = 0.9

    temperature: Temperature = 20.0
    right: OpenFraction = 0.99
    of_probabilities: bool = False

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        wrong = (1 - self.right) / max(student.shape[1] - 1, 1)
        high, low = (self.right, wrong) if self.of_probabilities else (math.log(self.right), math.log(wrong))
        u = torch.full_like(student, low).masked_fill(target_mask(student, targets), high)
        log_t = F.log_softmax(u / self.temperature, dim=1)
        log_s = F.log_softmax(student if self.of_probabilities else student / self.temperature, dim=1)
        return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(1)
