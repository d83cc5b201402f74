"""Chen, Mei, Zhang, Wang, Feng, Chen: reuse of the teacher's classifier."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.nn.blocks import conv_bn
from tutelage.nn.maps import average_positions, dimensions_of
from tutelage.utils.options import SmallCount


class SimKD(Feature):
    r"""Match the input of the teacher's classifier, so that the student can use that classifier.

    L = (P(s) − t)², one value per element; P is 1×1–3×3–1×1 convolutions with batch norm and ReLU, C'/factor between.

    Shapes: student (B, C, H, W), teacher (B, C', H', W'), the last maps; the larger is average-pooled to the smaller.
    Returns (B, C', h, w). `respond` predicts through the projector and the teacher's classifier, both of which
    the deployed model keeps.
    Paper: Chen, Mei, Zhang, Wang, Feng, Chen. CVPR 2022. arXiv:2203.14001, eq. 3. There it is the only loss, and the
    student has no classifier. Here the task loss is added to it, without which the student's classifier wouldn't be
    trained; set its weight to 0 for the paper's setting, and predict with `respond`.
    Raises: ConfigError if factor isn't above 0 or leaves no channel.
    """

    name = "simkd"
    paper = "Chen, Mei, Zhang, Wang, Feng, Chen. CVPR 2022. arXiv:2203.14001"
    compares = "last"
    zero_at_equal = False

    factor: SmallCount = 2

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        channels = teacher.shape[1]
        width = channels // self.factor
        if width == 0:
            raise ConfigError(
                f"SimKD(factor={self.factor}): the teacher has {channels} channels; use a smaller factor."
            )
        dimensions, self.size = dimensions_of(student), teacher.shape[2:]
        self.transfer = nn.Sequential(
            *conv_bn(dimensions, student.shape[1], width), nn.ReLU(),
            *conv_bn(dimensions, width, width, 3), nn.ReLU(),
            *conv_bn(dimensions, width, channels), nn.ReLU(),
        ).to(student)  # fmt: skip

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = pool_to_smaller(student, teacher)
        return (self.transfer(student) - teacher).pow(2)

    def respond(self, student: Tensor, head: tuple[Tensor, Tensor]) -> Tensor:
        """Return the logits (B, K) of the teacher's classifier on the student's map.

        Args:
            student: the student's last map (B, C, H, W).
            head: the weight (K, C') and bias (K,) of the teacher's classifier.
        """
        student, _ = pool_to_smaller(student, student.new_empty(1, 1, *self.size))
        return F.linear(average_positions(self.transfer(student)), *head)
