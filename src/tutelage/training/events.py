"""The events of a training, as values; `row()` returns the line of metrics.jsonl."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tutelage.training.callbacks import Callback

Row = dict[str, Any]


class Event:
    """Abstract base class of events; the fields are those of the row, in the same order."""

    kind: str

    def row(self) -> Row:
        """Return the event as a JSON object with its `kind`."""
        event: Any = self
        return {"kind": self.kind} | {field.name: getattr(self, field.name) for field in fields(event)}

    @abstractmethod
    def send(self, callback: Callback) -> None:
        """Call the callback's hook for this kind of event."""


@dataclass(frozen=True)
class TrainBegin(Event):
    """A training begins or continues.

    Args:
        steps: the number of steps per epoch.
        epochs: the number of epochs.
        step: the number of steps already taken.
        pairs: the pairs of student and teacher layers that each term compares, by the term's name.

    Example:
        >>> TrainBegin(steps=10, epochs=2, step=0, pairs={"at": [("layer1", "layer2")]}).row()["kind"]
        'begin'
    """

    kind = "begin"
    steps: int
    epochs: int
    step: int
    pairs: Mapping[str, Sequence[tuple[str, str]]]

    def send(self, callback: Callback) -> None:
        """Call `on_train_begin`."""
        callback.on_train_begin(self)


@dataclass(frozen=True)
class StepEnd(Event):
    """A log point.

    Args:
        step: the number of steps.
        epoch: the number of epochs, as a fraction.
        losses: the mean of each term's loss since the previous log point.
        lr: the learning rate.

    Example:
        >>> StepEnd(step=20, epoch=0.5, losses={"ce": 2.3}, lr=0.05).row()
        {'kind': 'step', 'step': 20, 'epoch': 0.5, 'losses': {'ce': 2.3}, 'lr': 0.05}
    """

    kind = "step"
    step: int
    epoch: float
    losses: Mapping[str, float]
    lr: float

    def send(self, callback: Callback) -> None:
        """Call `on_step_end`."""
        callback.on_step_end(self)


@dataclass(frozen=True)
class GradientNorms(Event):
    """The terms' gradient norms were measured.

    Args:
        step: the number of steps.
        epoch: the number of complete epochs.
        norms: each weighted term's gradient norm, by the term's name.
        weights: the terms' weights that adapt to the norms, by the term's name.

    Example:
        >>> GradientNorms(step=0, epoch=0, norms={"kd": 1.5}, weights={}).row()
        {'kind': 'norms', 'step': 0, 'epoch': 0, 'norms': {'kd': 1.5}}
    """

    kind = "norms"
    step: int
    epoch: int
    norms: Mapping[str, float]
    weights: Mapping[str, float]

    def row(self) -> Row:
        """Return the event as a JSON object, without empty mappings."""
        return {name: value for name, value in super().row().items() if value != {}}

    def send(self, callback: Callback) -> None:
        """Call `on_gradient_norms`."""
        callback.on_gradient_norms(self)


@dataclass(frozen=True)
class EpochEnd(Event):
    """An epoch is complete, and a student was validated.

    Args:
        step: the number of steps.
        epoch: the number of complete epochs.
        val: the validation metrics, by name.
        student: the student's name.

    Example:
        >>> EpochEnd(step=40, epoch=1, val={"accuracy": 0.9}, student="student").row()["val"]
        {'accuracy': 0.9}
    """

    kind = "epoch"
    step: int
    epoch: int
    val: Mapping[str, float]
    student: str

    def send(self, callback: Callback) -> None:
        """Call `on_epoch_end`."""
        callback.on_epoch_end(self)


@dataclass(frozen=True)
class TrainEnd(Event):
    """The training is complete.

    Args:
        step: the number of steps.
        seconds: the training time, including that of earlier processes of a resumed run.

    Example:
        >>> TrainEnd(step=80, seconds=12.5).row()
        {'kind': 'end', 'step': 80, 'seconds': 12.5}
    """

    kind = "end"
    step: int
    seconds: float

    def send(self, callback: Callback) -> None:
        """Call `on_train_end`."""
        callback.on_train_end(self)


@dataclass(frozen=True)
class Message(Event):
    """A note or a warning.

    Args:
        message: the text.
        kind: "note" or "warning".
        step: the step of the training; None outside a training.

    Example:
        >>> Message("the learning rate is high", "warning").row()
        {'kind': 'warning', 'message': 'the learning rate is high'}
    """

    message: str
    kind: Literal["note", "warning"] = "note"
    step: int | None = None

    def row(self) -> Row:
        """Return the event as a JSON object, without a step if it is None."""
        step = {} if self.step is None else {"step": self.step}
        return {"kind": self.kind} | step | {"message": self.message}

    def send(self, callback: Callback) -> None:
        """Call `on_message`."""
        callback.on_message(self)
