"""Caron, Touvron, Misra, Jégou, Mairal, Bojanowski, Joulin: self-distillation over crops."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.utils.options import CountOrZero, FractionBelowOne, Temperature


class DINO(Loss):
    r"""Match each crop's prediction with a centred and sharpened teacher's of another, global crop of the same image.

    L = −softmax((t_i − c)/τ_t) · log softmax(s_j/τ_s), averaged over the global crops i and all crops j ≠ i;
    c ← m·c + (1 − m)·(mean of t over the batch) after the loss, in training only.
    τ_t changes linearly from warmup_teacher_temperature to teacher_temperature within the first warmup_epochs.

    Shapes: student (B, V, C), the outputs of V crops of each image, the two global ones first; teacher (B, 2, C), those
    of the two global crops; epoch (float). Returns (B, 2·(V − 1)). Each replica keeps its own centre.
    Paper: Caron, Touvron, Misra, Jégou, Mairal, Bojanowski, Joulin. ICCV 2021. arXiv:2104.14294. Its τ_t rises from
    0.04 to 0.07 in 30 epochs. The teacher is a moving average of the student.
    Raises: ConfigError if an option is out of range or the shapes differ from these.
    """

    name = "dino"
    paper = "Caron, Touvron, Misra, Jégou, Mairal, Bojanowski, Joulin. ICCV 2021. arXiv:2104.14294"
    only_for = "crops of several sizes"
    zero_at_equal = False
    task_loss_weight = 0.0

    student_temperature: Temperature = 0.1
    teacher_temperature: Temperature = 0.07
    warmup_teacher_temperature: Temperature = 0.04
    warmup_epochs: CountOrZero = 30
    centre_momentum: FractionBelowOne = 0.9

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 4, 5), torch.randn(6, 2, 5), {"epoch": 1.0}

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.centre = nn.Buffer(teacher.new_zeros(1, teacher.shape[-1]))

    def forward(self, student: Tensor, teacher: Tensor, *, epoch: float) -> Tensor:
        if student.dim() != 3 or teacher.shape != (len(student), 2, student.shape[2]) or student.shape[1] < 2:
            raise ConfigError(
                f"DINO: the student's tensor is {tuple(student.shape)} and the teacher's is {tuple(teacher.shape)}, "
                "expected (B, V, C), the global crops first, and (B, 2, C), the global crops."
            )
        teacher_probabilities = ((teacher - self.centre) / self.sharpening(epoch)).softmax(2).unbind(1)
        student_log_probabilities = F.log_softmax(student / self.student_temperature, dim=2).unbind(1)
        if self.training:
            self.recentre(teacher)
        values = [
            -(t * s).sum(1)
            for i, t in enumerate(teacher_probabilities)
            for j, s in enumerate(student_log_probabilities)
            if i != j
        ]
        return torch.stack(values, dim=1)

    def sharpening(self, epoch: float) -> float:
        """Return τ_t, which changes at the start of each epoch."""
        full_epochs = int(epoch)
        if full_epochs >= self.warmup_epochs:
            return self.teacher_temperature
        fraction = full_epochs / max(self.warmup_epochs - 1, 1)
        return self.warmup_teacher_temperature + fraction * (self.teacher_temperature - self.warmup_teacher_temperature)

    @torch.no_grad()
    def recentre(self, teacher: Tensor) -> None:
        """Move the centre towards the batch's mean."""
        self.centre.lerp_(teacher.flatten(0, 1).mean(0, keepdim=True).to(self.centre.dtype), 1 - self.centre_momentum)
