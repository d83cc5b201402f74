"""The base classes of policies: schedules, temperatures, and weights of terms and of samples."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.utils.dataclass_module import DataclassModule


class Schedule(DataclassModule):
    """Abstract base class of a number that follows the epoch, for a term's weight or its temperature."""

    def at(self, epoch: float) -> float:
        """Return the value at an epoch (0 at the start of training, fractions within an epoch)."""
        raise NotImplementedError


class Temperature(DataclassModule):
    """Abstract base class: softens both sides' logits before a loss, which then needs no temperature option.

    `forward(student, teacher, *, …)` maps both sides' logits (B, C, …) to τ, which is one number, or one per sample or
    position, (B, …). The loss receives s/τ and t/τ. Its value is multiplied by τ², which keeps the gradient's size,
    unless the class attribute `scales_loss` is false. The keyword-only parameters of forward are the inputs that the
    policy requires of the batch.
    """

    paper: ClassVar[str] = ""
    scales_loss: ClassVar[bool] = True

    def build(self, student: Tensor, teacher: Tensor) -> None:
        """Create the learned parameters from an example of both sides' logits (B, C, …)."""

    def soften(self, student: Tensor, teacher: Tensor, **loss_kwargs: object) -> tuple[Tensor, Tensor, Tensor]:
        """Soften both sides.

        Args:
            student: the student's logits (B, C, …).
            teacher: the teacher's logits (B, C, …).
            **loss_kwargs: the inputs that forward requires of the batch.

        Returns: both sides' softened logits, and the factor by which the loss's value is multiplied.
        """
        temperature = torch.as_tensor(self(student, teacher, **loss_kwargs), dtype=student.dtype, device=student.device)
        divisor = broadcast_by_position(temperature, student)
        return (
            student / divisor,
            teacher / divisor,
            temperature**2 if self.scales_loss else torch.ones_like(temperature),
        )


class ScheduledTemperature(Temperature):
    """A temperature that is the same for all samples and follows the epoch: τ = schedule(epoch).

    Args:
        schedule: the schedule of τ.

    Raises: ConfigError if the schedule begins or ends at 0 or below.
    """

    schedule: Schedule

    def __post_init__(self) -> None:
        if min(self.schedule.at(0.0), self.schedule.at(float("inf"))) <= 0:
            raise ConfigError(f"temperature={self.schedule}: expected a schedule that stays above 0.")

    def forward(self, student: Tensor, teacher: Tensor, *, epoch: float = 0.0) -> Tensor:
        return student.new_tensor(self.schedule.at(epoch))


class Weight(DataclassModule):
    """Abstract base class: weighs a term; `forward(value, task_loss)` returns the weighted value, ().

    value () is the term's mean. task_loss () is the sum of the terms that need no teacher, without gradient.
    """

    paper: ClassVar[str] = ""
    needs_task_loss: ClassVar[bool] = True
    """True if the weight depends on `task_loss`, so that the method must have a term that needs no teacher."""

    def current_factor(self) -> float | None:
        """Return the factor in use if it stays the same until gradients are next measured, and None otherwise."""
        return None

    def balance(self, norm: float, task_norm: float) -> None:
        """Update the weight.

        Args:
            norm: the gradient norm of the weighted term.
            task_norm: the gradient norm of the terms that need no teacher.
        """


class SampleWeight(DataclassModule):
    """Abstract base class of the weights of a term's samples or positions.

    `forward(student, teacher, *, …)` maps both sides' logits (B, C, …) to the weights (B, …).
    """

    paper: ClassVar[str] = ""

    def build(self, student: Tensor, teacher: Tensor | None) -> None:
        """Create the learned parameters from an example of both sides' logits (B, C, …)."""


def broadcast_by_position(value: float | Tensor, like: Tensor) -> float | Tensor:
    """Reshape values (B,) or (B, …), one per sample or position, to broadcast with (B, C, …); a number is kept."""
    if not isinstance(value, Tensor) or value.numel() == 1:
        return value
    return value.reshape(len(value), 1, *value.shape[1:], *[1] * (like.dim() - value.dim() - 1))
