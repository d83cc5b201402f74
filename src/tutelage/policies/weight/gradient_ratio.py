"""A weight that holds a term's gradient at a fixed ratio to the task loss's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.policies.base import Weight
from tutelage.utils.options import Positive


class GradientRatio(Weight):
    """Keep a term's gradient norm at a fixed ratio to that of the task loss, the terms that need no teacher.

    w = ratio · ‖∇L_task‖ / ‖∇L‖ over the student's parameters, set from the norms that the trainer measures before the
    first step and five times during training; between measurements w is constant. Before the first one, and while ‖∇L‖
    is 0, w is left as it is, initially 1.

    Raises: ConfigError if the ratio isn't above 0.
    """

    ratio: Positive = 1.0

    def __post_init__(self) -> None:
        self.weight = nn.Buffer(torch.ones(()))

    def forward(self, value: Tensor, task_loss: Tensor) -> Tensor:
        return self.weight * value

    def current_factor(self) -> float:
        return float(self.weight)

    def balance(self, norm: float, task_norm: float) -> None:
        if norm > 0 and task_norm > 0:
            self.weight.mul_(self.ratio * task_norm / norm)
