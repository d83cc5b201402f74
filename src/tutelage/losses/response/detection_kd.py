"""Chen, Choi, Yu, Han, Chandraker: a detector's classes, with a separate weight for the background."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response, require_same_shape
from tutelage.utils.options import ClassOrLast, NonNegative, Temperature


class DetectionKD(Response):
    r"""Cross-entropy with the teacher's class probabilities of each proposal, with a larger weight for the background.

    L = −Σ_c w_c·softmax(t/T)_c·log softmax(s/T)_c, w = background_weight for the background, 1 for each other class.

    Shapes: student, teacher (B, C, …) logits, with proposals in place of samples or positions; class `background` is
    the background (−1: the last); returns (B, …).
    Paper: Chen, Choi, Yu, Han, Chandraker. NIPS 2017, eq. 3: 1.5 and T = 1, half of this in addition to half of the
    cross-entropy with the labels; its boxes are `teacher_bounded_regression`, its features `fitnet`. No published
    numbers were compared.
    Raises: ConfigError if the temperature isn't above 0, the weight is below 0, there is no such class, or the shapes
    differ.
    """

    name = "detection_kd"
    paper = "Chen, Choi, Yu, Han, Chandraker. NIPS 2017"
    zero_at_equal = False
    ignores = ("shift of logits",)
    response_kinds = ("classes", "detections")
    default_weight = 0.5
    task_loss_weight = 0.5

    background_weight: NonNegative = 1.5
    background: ClassOrLast = 0
    temperature: Temperature = 1.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        classes = student.shape[1]
        if not -classes <= self.background < classes:
            raise ConfigError(
                f"DetectionKD(background={self.background}): the logits have {classes} classes, "
                f"expected -{classes} to {classes - 1}."
            )
        weight = student.new_ones(classes)
        weight[self.background] = self.background_weight
        soft = (teacher / self.temperature).softmax(1)
        return F.cross_entropy(student / self.temperature, soft, weight=weight, reduction="none")
