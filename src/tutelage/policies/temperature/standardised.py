"""Sun, Ren, Li, Wang, Cao: each side standardised by its own deviation."""

from __future__ import annotations

from torch import Tensor

from tutelage.policies.base import Temperature
from tutelage.utils.options import Positive


class Standardised(Temperature):
    r"""Standardise each side's logits, so that the student needn't match the teacher's range.

    z ← (z − mean z)/(std z + 10⁻⁷)/base over the classes, on both sides, with the unbiased standard deviation; the loss
    is multiplied by base².

    Shapes: student, teacher (B, C, …) logits.
    Paper: Sun, Ren, Li, Wang, Cao. CVPR 2024. arXiv:2403.01427: base 2, at a weight of 9 alongside 0.1 of the
    task loss for KD, and α = 9, β = 72 for DKD.
    Raises: ConfigError if `base` isn't above 0.
    """

    paper = "Sun, Ren, Li, Wang, Cao. CVPR 2024. arXiv:2403.01427"

    base: Positive = 2.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return student.new_tensor(self.base)

    def soften(self, student: Tensor, teacher: Tensor, **loss_kwargs: object) -> tuple[Tensor, Tensor, Tensor]:
        return super().soften(standardise_logits(student), standardise_logits(teacher), **loss_kwargs)


def standardise_logits(logits: Tensor) -> Tensor:
    """Return (z − mean z) / (std z + 10⁻⁷) along dim 1 of (B, C, …), with the unbiased standard deviation (C − 1)."""
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + 1e-7)
