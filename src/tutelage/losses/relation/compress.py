"""Koohpayegani, Tejankar, Pirsiavash: similarity to a bank of anchors."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Relation, require_same_shape, require_vectors
from tutelage.losses.functional.memory_banks import VectorQueue, similarity_kl
from tutelage.utils.options import Count, Temperature


class CompRess(Relation):
    r"""Match the teacher's distribution of similarities to a bank of earlier samples.

    L = KL(softmax(t·Q_tᵀ/τ) ‖ softmax(s·Q_sᵀ/τ)), s and t unit vectors.

    Shapes: student (B, D), teacher (B, D'); returns (B,). variant "2q": each side is compared with its own bank, Q_s of
    the student's vectors and Q_t of the teacher's vectors of the same samples; "1q": both are compared with the
    teacher's, so that D = D'. This batch is added to the banks after the loss, in training only.
    Paper: Koohpayegani, Tejankar, Pirsiavash. NeurIPS 2020. arXiv:2010.14713.
    Raises: ConfigError for another variant, an option that isn't above 0, or with "1q" if the shapes differ.
    """

    paper = "Koohpayegani, Tejankar, Pirsiavash. NeurIPS 2020. arXiv:2010.14713"
    zero_at_equal = False
    ignores = ("scale of each sample",)
    task_loss_weight = 0.0

    variant: Literal["1q", "2q"] = "2q"
    size: Count = 128000
    temperature: Temperature = 0.04

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.teacher_bank = VectorQueue(self.size, teacher)
        self.student_bank = VectorQueue(self.size, student) if self.variant == "2q" else None

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_vectors(self, student, teacher)
        if self.student_bank is None:
            require_same_shape(self, student, teacher)
        s, t = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
        anchors = (self.student_bank or self.teacher_bank).rows
        loss = similarity_kl(s, t, anchors, self.teacher_bank.rows, self.temperature)
        if self.training:
            self.teacher_bank.push(t)
            if self.student_bank is not None:
                self.student_bank.push(s)
        return loss
