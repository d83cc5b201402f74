"""A weight that holds a term's value at a fixed ratio to the task loss."""

from __future__ import annotations

from torch import Tensor

from tutelage.policies.base import Weight
from tutelage.utils.options import Positive


class ValueRatio(Weight):
    """Keep a term's value at a fixed ratio to the task loss, the terms that need no teacher, at every step.

    w = ratio · |L_task| / (|L| + 10⁻⁸), a constant for the gradient; the weighted value is w·L.

    Raises: ConfigError if the ratio isn't above 0.
    """

    ratio: Positive = 1.0

    def forward(self, value: Tensor, task_loss: Tensor) -> Tensor:
        return value * self.ratio * task_loss.abs() / (value.detach().abs() + 1e-8)
