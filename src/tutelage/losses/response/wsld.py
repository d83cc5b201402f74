"""Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang: weighted soft labels."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import soft_ce
from tutelage.policies.sample_weight.student_gap import StudentGap
from tutelage.utils.options import Temperature


class WSLD(Response):
    r"""Cross-entropy with soft labels, weighted by how much the student's loss exceeds the teacher's on each sample.

    L = w·T²·(−Σ_c softmax(t/T)_c · log softmax(s/T)_c),  w = 1 − exp(−CE(s, y)/(CE(t, y) + 10⁻⁷)), w without gradient:
    the policy `StudentGap`.

    Shapes: student, teacher (B, C, …) logits, targets (B, …) int64; returns (B, …).
    Paper: Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang. ICLR 2021. arXiv:2102.00650; the weight of 2.25 and T = 4
    are those of the authors' CIFAR-100 training (2.5 and 2 on ImageNet).
    Raises: ConfigError if the temperature isn't above 0, or the shapes differ.
    """

    paper = "Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang. ICLR 2021. arXiv:2102.00650"
    zero_at_equal = False
    ignores = ("shift of logits",)
    default_weight = 2.25

    temperature: Temperature = 4.0

    def __post_init__(self) -> None:
        self.weight = StudentGap()

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        weight = self.weight(student, teacher, targets=targets)
        return weight * self.temperature**2 * soft_ce(student, teacher, self.temperature)
