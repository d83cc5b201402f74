"""What policies are: a temperature, a weight, or what each sample counts, decided in training."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tutelage.utils.dataclass_module import DataclassModule


class Schedule(DataclassModule):
    """Abstract: a number that follows the epoch, for a term's weight or its temperature."""

    def at(self, epoch: float) -> float:
        """Its value."""
        raise NotImplementedError


class Temperature(DataclassModule):
    """Abstract: softens both sides' logits (B, C, …) before a loss that then needs no temperature of its own.

    `forward(student, teacher, *, …)` gives τ, one number or one a sample or position, (B, …); the loss sees s/τ and
    t/τ. What it says is multiplied by τ², which keeps the gradient's size, unless `square` is false.
    """

    paper: ClassVar[str] = ""
    square: ClassVar[bool] = True

    def build(self, student: Tensor, teacher: Tensor) -> None:
        """Make the learned parts from an example of both sides' logits."""

    def soften(self, student: Tensor, teacher: Tensor, **loss_kwargs: object) -> tuple[Tensor, Tensor, Tensor]:
        """Both sides softened, and the factor of what the loss says."""
        temperature = torch.as_tensor(self(student, teacher, **loss_kwargs), dtype=student.dtype, device=student.device)
        at = by_position(temperature, student)
        return student / at, teacher / at, temperature**2 if self.square else torch.ones_like(temperature)


class Weight(DataclassModule):
    """Abstract: weighs a term; `forward(value, truth)` gives the weighted value.

    value (): the term's mean. truth (): the sum of the terms that need no teacher, a constant.
    """

    paper: ClassVar[str] = ""
    compares: ClassVar[bool] = True
    """Whether it needs a term of the ground truth to go by."""

    def current(self) -> float | None:
        """The factor in use, if it is the same until the next look at the gradients."""
        return None

    def balance(self, norm: float, truth: float) -> None:
        """Take note of the gradient norms of the weighted term and of the terms that need no teacher."""


class SampleWeight(DataclassModule):
    """Abstract: what each sample or position counts in a term: `forward(student, teacher, *, …)` gives (B, …)."""

    paper: ClassVar[str] = ""

    def build(self, student: Tensor, teacher: Tensor | None) -> None:
        """Make the learned parts from an example of both sides' logits."""


def by_position(value: float | Tensor, like: Tensor) -> float | Tensor:
    """Values (B,) or (B, …), one a sample or position, to go with (B, C, …); a number stays."""
    if not isinstance(value, Tensor) or value.numel() == 1:
        return value
    return value.reshape(len(value), 1, *value.shape[1:], *[1] * (like.dim() - value.dim() - 1))
