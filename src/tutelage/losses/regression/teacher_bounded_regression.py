"""Chen, Choi, Yu, Han, Chandraker: the teacher as an upper bound."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Estimates, require_same_shape
from tutelage.losses.functional.distances import squared_distance
from tutelage.utils.options import NonNegative


class TeacherBoundedRegression(Estimates):
    r"""Match the targets, with an additional loss where the student isn't better than the teacher by a margin.

    L = smooth L1(s, y) + ν·‖s − y‖²·1[‖s − y‖² + m > ‖t − y‖²]: the parts "truth" and "bounded".

    Shapes: student, teacher (B, D, …) estimates, targets of the same shape, of a floating type; each part is (B,),
    summed over all values of a sample's estimate. `part: boxes` of a detector gives it the boxes of the places that an
    object is assigned to, (N, 4), in the detectors' own code.
    Paper: Chen, Choi, Yu, Han, Chandraker. NIPS 2017: ν = 0.5 for bounding boxes.
    Raises: ConfigError if ν or the margin is below 0, or shapes differ.
    """

    name = "teacher_bounded_regression"
    paper = "Chen, Choi, Yu, Han, Chandraker. NIPS 2017"
    response_kinds = ("values",)
    maskable = True
    zero_at_equal = False
    task_loss_weight = 0.0

    nu: NonNegative = 0.5
    margin: NonNegative = 0.0

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        require_same_shape(self, student, targets)
        student_error, teacher_error = squared_distance(student, targets), squared_distance(teacher, targets)
        return {
            "truth": F.smooth_l1_loss(student, targets, reduction="none").flatten(1).sum(1),
            "bounded": self.nu * student_error * (student_error + self.margin > teacher_error).to(student_error.dtype),
        }
