"""Charbonnier, Blanc-Féraud, Aubert, Barlaud: a smooth absolute error, for images."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Estimates, require_same_shape
from tutelage.utils.options import Positive


class Charbonnier(Estimates):
    r"""Match the targets by the absolute difference, rounded off near 0; it needs no teacher.

    L = √(d² + ε²), d = s − y, one value per estimate.

    Shapes: student (B, T, …) estimates, targets of the same shape, of a floating type; returns that shape.
    Paper: Charbonnier, Blanc-Féraud, Aubert, Barlaud. ICIP 1994; with ε = 0.001 in Lai, Huang, Ahuja, Yang. CVPR 2017.
    arXiv:1704.03915 (LapSRN). No published numbers were compared.
    Raises: ConfigError if ε isn't above 0, or the shapes differ.
    """

    paper = "Charbonnier, Blanc-Féraud, Aubert, Barlaud. ICIP 1994"
    response_kinds = ("values", "maps")
    maskable = True
    needs_teacher = False
    zero_at_equal = False
    task_loss_weight = 0.0

    epsilon: Positive = 1e-3

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        require_same_shape(self, student, targets)
        return ((student - targets).square() + self.epsilon**2).sqrt()
