"""You, Xu, Xu, Tao: all teachers alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.declared import positive
from tutelage.losses.base import Response
from tutelage.losses.several import Several, softened_kls, stacked


class AVER(Response):
    r"""Match every teacher's softened class probabilities, all with the same weight.

    L = T² · KL(softmax(t_m/T) ‖ softmax(s/T)), one value per teacher m and position.

    Shapes: student (B, C, …) logits; teacher M of them, stacked (M, B, C, …) or a list; returns (M, B, …).
    Paper: You, Xu, Xu, Tao. KDD 2017, which averages the teachers' probabilities (`Ensemble` does): the gradient is the
    same, the value is greater by what the teachers differ. As in published benchmarks T = 4.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    paper = "You, Xu, Xu, Tao. KDD 2017"
    lists = ("teacher",)
    ignores = ("shift of logits",)

    temperature: float = 4.0

    def __post_init__(self) -> None:
        positive(self, "temperature")

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), [torch.randn(6, 5) for _ in range(3)], {}

    def forward(self, student: Tensor, teacher: Several) -> Tensor:
        return softened_kls(student, stacked(teacher), self.temperature)
