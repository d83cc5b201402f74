"""Touvron, Cord, Douze, Massa, Sablayrolles, Jégou: the teacher's predicted class as the label."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape


class HardLabel(Response):
    r"""Cross-entropy with the class that the teacher predicts.

    L = −log softmax(s)[argmax_c t_c].

    Shapes: student, teacher (B, C, …) logits; the student's are its distillation head's, if it has one; returns (B, …).
    Paper: Touvron, Cord, Douze, Massa, Sablayrolles, Jégou. ICML 2021. arXiv:2012.12877, eq. 3: half of this, in
    addition to half of the cross-entropy of the class head with the labels.
    Raises: ConfigError if the shapes differ.
    """

    name = "hard_label"
    paper = "Touvron, Cord, Douze, Massa, Sablayrolles, Jégou. ICML 2021. arXiv:2012.12877"
    zero_at_equal = False
    ignores = ("shift of logits",)
    default_weight = 0.5
    task_loss_weight = 0.5

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return F.cross_entropy(student, teacher.argmax(1), reduction="none")
