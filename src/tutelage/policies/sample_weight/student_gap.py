"""Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang: samples on which the student lags behind the teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.policies.base import SampleWeight


class StudentGap(SampleWeight):
    r"""Weigh samples by the student's loss relative to the teacher's: more, the worse the student is.

    w = 1 − exp(−CE(s, y)/(CE(t, y) + 10⁻⁷)), without gradient.

    Shapes: student, teacher (B, C, …) logits, targets (B, …) int64; returns (B, …) in [0, 1].
    Paper: Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang. ICLR 2021. arXiv:2102.00650 (WSLD).
    """

    name = "worse"
    paper = "Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang. ICLR 2021. arXiv:2102.00650"

    @torch.no_grad()
    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> Tensor:
        student_ce, teacher_ce = (F.cross_entropy(logits, targets, reduction="none") for logits in (student, teacher))
        return 1 - torch.exp(-student_ce / (teacher_ce + 1e-7))
