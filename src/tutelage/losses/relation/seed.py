"""Fang, Wang, Wang, Zhang, Yang, Liu: self-supervised similarities to a queue."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Relation, require_same_shape, require_vectors
from tutelage.losses.functional.memory_banks import VectorQueue
from tutelage.utils.options import Count, Temperature


class SEED(Relation):
    r"""Match the teacher's distribution of similarities to its own vector of the sample and to a queue of others.

    D = [t; Q], all unit vectors;  L = −softmax(t·Dᵀ/τ_t) · log softmax(s·Dᵀ/τ_s).

    Shapes: student, teacher (B, D); returns (B,). Q holds the teacher's vectors of earlier batches; this batch is added
    after the loss, in training only. queue (N, D) of unit vectors, if passed, replaces Q.
    Paper: Fang, Wang, Wang, Zhang, Yang, Liu. ICLR 2021. arXiv:2101.04731.
    Raises: ConfigError if an option isn't above 0, or the shapes differ.
    """

    paper = "Fang, Wang, Wang, Zhang, Yang, Liu. ICLR 2021. arXiv:2101.04731"
    connector = "linear"
    zero_at_equal = False
    ignores = ("scale of each sample",)
    task_loss_weight = 0.0

    size: Count = 65536
    student_temperature: Temperature = 0.2
    teacher_temperature: Temperature = 0.01

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.queue = VectorQueue(self.size, teacher)

    def forward(self, student: Tensor, teacher: Tensor, *, queue: Tensor | None = None) -> Tensor:
        require_vectors(self, student, teacher)
        require_same_shape(self, student, teacher)
        s, t = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
        bank = self.queue.rows if queue is None else queue
        student_logits, teacher_logits = (torch.cat([(x * t).sum(1, keepdim=True), x @ bank.T], dim=1) for x in (s, t))
        loss = F.cross_entropy(
            student_logits / self.student_temperature,
            (teacher_logits / self.teacher_temperature).softmax(1),
            reduction="none",
        )
        if self.training and queue is None:
            self.queue.push(t)
        return loss
