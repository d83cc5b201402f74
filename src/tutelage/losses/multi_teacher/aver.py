"""You, Xu, Xu, Tao: the same weight for all teachers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.stacked_logits import ModelLogits, softened_kls, stack_logits
from tutelage.utils.options import SmallCountOrZero, Temperature


class AVER(Response):
    r"""Match every teacher's softened class probabilities, all with the same weight.

    L = T² · KL(softmax(t_m/T) ‖ softmax(s/T)), one value per teacher m and position.

    drop: the number of teachers that are left out, drawn at each training step. class_mean: the divergence is averaged
    over the C classes, not summed, and so is C times smaller.
    Shapes: student (B, C, …) logits; teacher M of them, stacked (M, B, C, …) or a list; returns (M, B, …), of those
    that remain.
    Paper: You, Xu, Xu, Tao. KDD 2017, which averages the teachers' probabilities (as `Ensemble` does): the gradient is
    the same, the value is larger by the teachers' disagreement. As in published benchmarks T = 4. Dropping: Son, Na,
    Choi, Hwang. ICCV 2021. arXiv:2009.08825, which sums over teachers; `class_mean` is as in its authors' code.
    Raises: ConfigError if the temperature isn't above 0, drop leaves no teacher, or shapes differ.
    """

    paper = "You, Xu, Xu, Tao. KDD 2017"
    list_inputs = ("teacher",)
    ignores = ("shift of logits",)

    temperature: Temperature = 4.0
    drop: SmallCountOrZero = 0
    class_mean: bool = False

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), [torch.randn(6, 5) for _ in range(3)], {}

    def forward(self, student: Tensor, teacher: ModelLogits) -> Tensor:
        teachers = stack_logits(teacher, self.drop + 1)
        if self.drop and self.training:
            kept = torch.randperm(len(teachers))[self.drop :].sort().values
            teachers = teachers[kept.to(teachers.device)]
        values = softened_kls(student, teachers, self.temperature)
        return values / student.shape[1] if self.class_mean else values
