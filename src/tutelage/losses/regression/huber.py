"""The Huber loss of estimates."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Estimates, require_same_shape
from tutelage.utils.options import Positive


class Huber(Estimates):
    r"""Match the targets by a loss that is quadratic for small errors and linear for large ones; it needs no teacher.

    L = ½·e² if |e| ≤ δ, else δ·(|e| − ½·δ), e = s − y; targets are in units of their standard deviation.

    Shapes: student (B, T, …) estimates, targets of the same shape, of a floating type; returns that shape.
    Paper: Huber. Annals of Mathematical Statistics 1964. No published numbers were compared.
    Raises: ConfigError if δ isn't above 0, or the shapes differ.
    """

    paper = "Huber. Annals of Mathematical Statistics 1964"
    response_kinds = ("values", "maps")
    maskable = True
    needs_teacher = False
    zero_at_equal = False
    task_loss_weight = 0.0

    delta: Positive = 1.0

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        require_same_shape(self, student, targets)
        return F.huber_loss(student, targets, reduction="none", delta=self.delta)
