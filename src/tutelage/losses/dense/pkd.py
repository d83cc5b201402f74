"""Cao, Zhang, Gao, Cheng, Cheng, Cheng: Pearson correlation of features."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Feature, require_same_shape
from tutelage.nn.maps import interpolate


class PKD(Feature):
    r"""Match each channel's map up to shift and scale.

    x̂ = (x − mean) / (std + 10⁻⁶) of each channel over batch and positions;  L = ½·(ŝ − t̂)², which averages to
    1 − Pearson's correlation.

    Shapes: student (B, C, H, W), teacher (B, C, H', W'); the student's map is resized bilinearly to the teacher's, or
    with resize_student=False the other way round. Returns (B, C, H, W). For a channel of a single number it is 0.
    Paper: Cao, Zhang, Gao, Cheng, Cheng, Cheng. NeurIPS 2022. arXiv:2207.02039. There the channels are equal; the
    default connector is for networks of different channels.
    Raises: ConfigError if the channels differ.
    """

    paper = "Cao, Zhang, Gao, Cheng, Cheng, Cheng. NeurIPS 2022. arXiv:2207.02039"
    connector = "conv1x1"
    ignores = ("swapped sides",)
    default_weight = 6.0

    resize_student: bool = True

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        if student.shape[2:] != teacher.shape[2:]:
            if self.resize_student:
                student = interpolate(student, teacher.shape[2:])
            else:
                teacher = interpolate(teacher, student.shape[2:])
        require_same_shape(self, student, teacher)
        return (standard(student) - standard(teacher)).pow(2) / 2


def standard(x: Tensor) -> Tensor:
    """Standardise each channel of (B, C, H, W) to mean 0 and (unbiased) deviation 1."""
    others = (0, *range(2, x.dim()))
    is_single = x.numel() == x.shape[1]
    deviation = x.std(others, keepdim=True, correction=0 if is_single else 1)
    return (x - x.mean(others, keepdim=True)) / (deviation + 1e-6)
