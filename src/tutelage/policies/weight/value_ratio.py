"""A fixed share of the truth's value."""

from __future__ import annotations

from torch import Tensor

from tutelage.policies.base import Weight
from tutelage.utils.options import Positive


class ValueRatio(Weight):
    """Keeps a term at a fixed ratio to the terms of the ground truth, by value, at every step.

    w = ratio · |L_truth| / (|L| + 10⁻⁸), a constant for the gradient; the weighted value is w·L.

    Raises: ConfigError if the ratio isn't above 0.
    """

    ratio: Positive = 1.0

    def forward(self, value: Tensor, truth: Tensor) -> Tensor:
        return value * self.ratio * truth.abs() / (value.detach().abs() + 1e-8)
