"""The absolute error of estimates."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Estimates, require_same_shape


class MAE(Estimates):
    r"""Match the targets by the absolute difference, which outliers affect less; it needs no teacher.

    L = |s − y|, one value per estimate.

    Shapes: student (B, T, …) estimates, targets of the same shape, of a floating type; returns that shape.
    Paper: a task loss of regression. No published numbers were compared.
    Raises: ConfigError if the shapes differ.
    """

    paper = "a task loss of regression"
    response_kinds = ("values", "maps")
    maskable = True
    needs_teacher = False
    zero_at_equal = False
    task_loss_weight = 0.0

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        require_same_shape(self, student, targets)
        return (student - targets).abs()
