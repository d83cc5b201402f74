"""Liu, Li, Li, Yao: N-to-one representation matching."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Feature
from tutelage.losses.functional.feature_maps import max_pool_to_smaller
from tutelage.nn.maps import conv, dimensions_of
from tutelage.utils.options import SmallCount


class NORM(Feature):
    r"""Expand the student's map to several segments of the teacher's channels, and match each with the teacher's map.

    W·s = (x_1, …, x_n), W a 1×1 convolution to n·C' channels;  L = n·(x_i − t)², averaged over i and elements.

    segments: n.
    Shapes: student (B, C, H, W), teacher (B, C', H', W'); the larger of W·s and t is max-pooled to the smaller. Returns
    (B, n, C', h, w).
    Paper: Liu, Li, Li, Yao. N-to-one representation matching. ICLR 2023. arXiv:2305.13803, alongside 0.1 of the task
    loss. There the expansion is the first half of a linear block in the student, which is merged into its neighbours
    after training; here it is a part of the loss and the student is unchanged.
    Raises: ConfigError if segments isn't above 0.
    """

    name = "norm"
    paper = "Liu, Li, Li, Yao. ICLR 2023. arXiv:2305.13803"
    compares = "last"
    zero_at_equal = False
    task_loss_weight = 0.1
    harmed_on = "digits and CIFAR-100"

    segments: SmallCount = 8

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.expand = conv(dimensions_of(student), student.shape[1], self.segments * teacher.shape[1], bias=False).to(
            student
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        expanded, teacher = max_pool_to_smaller(self.expand(student), teacher)
        return self.segments * (expanded.unflatten(1, (self.segments, -1)) - teacher[:, None]).pow(2)
