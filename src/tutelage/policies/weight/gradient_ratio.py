"""A fixed share of the truth's gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.policies.base import Weight
from tutelage.utils.options import Positive


class GradientRatio(Weight):
    """Keeps a term's gradient at a fixed ratio to that of the ground truth's terms.

    w = ratio · ‖∇L_truth‖ / ‖∇L‖ over the student's parameters, set from the norms that the trainer measures before the
    first step and five times in a training; in between it stays. Until the first look, and while ‖∇L‖ is 0, w stays 1.

    Raises: ConfigError if the ratio isn't above 0.
    """

    ratio: Positive = 1.0

    def __post_init__(self) -> None:
        self.weight = nn.Buffer(torch.ones(()))

    def forward(self, value: Tensor, truth: Tensor) -> Tensor:
        return self.weight * value

    def current(self) -> float:
        return float(self.weight)

    def balance(self, norm: float, truth: float) -> None:
        if norm > 0 and truth > 0:
            self.weight.mul_(self.ratio * truth / norm)
