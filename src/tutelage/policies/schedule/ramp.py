"""A number that moves from one value to another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from tutelage.policies.base import Schedule
from tutelage.utils.options import EpochsOrZero, Number

Shape = Literal["linear", "cosine", "sigmoid"]

SHAPES: dict[Shape, Callable[[float], float]] = {
    "linear": lambda u: u,
    "cosine": lambda u: (1 - math.cos(math.pi * u)) / 2,
    "sigmoid": lambda u: math.exp(-5 * (1 - u) ** 2) if u > 0 else 0.0,
}


class Ramp(Schedule):
    """A number that moves from `start` to `end` within `epochs`, from epoch `begin` on.

    start + (end − start)·f(u), u = (epoch − begin)/epochs within [0, 1];  f(u) = u, (1 − cos πu)/2 or exp(−5(1 − u)²)
    (0 at u = 0) for the `shape` linear, cosine or sigmoid. With epochs=0 it is a step: {start: 1, end: 0, begin: 20}
    switches a term off after 20 epochs.

    Raises: ConfigError for an unknown shape, or if `begin` or `epochs` is below 0.
    """

    start: Number = 0.0
    end: Number = 1.0
    epochs: EpochsOrZero = 0.0
    begin: EpochsOrZero = 0.0
    shape: Shape = "linear"

    def at(self, epoch: float) -> float:
        elapsed = epoch - self.begin
        u = min(max(elapsed / self.epochs, 0.0), 1.0) if self.epochs else float(elapsed >= 0)
        return self.start + (self.end - self.start) * SHAPES[self.shape](u)
