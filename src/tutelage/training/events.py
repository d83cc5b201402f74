"""The events of a training, as values; `row()` gives the line of metrics.jsonl."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tutelage.training.callbacks import Callback

Row = dict[str, Any]


class Event:
    """Abstract: an event; its fields are the row's, in their order."""

    kind: str

    def row(self) -> Row:
        """Return the event as a JSON object with its `kind`."""
        own: Any = self
        return {"kind": self.kind} | {field.name: getattr(self, field.name) for field in fields(own)}

    @abstractmethod
    def send(self, callback: Callback) -> None:
        """Call the callback's hook for this kind of event."""


@dataclass(frozen=True)
class TrainBegin(Event):
    """A training begins or goes on; steps: of one epoch; step: those already taken; pairs: of layers, by term."""

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
    """A log point: the mean of each term's loss since the one before, and the learning rate."""

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
    """The norm of each term's gradient, and the weights that follow from them, by term."""

    kind = "norms"
    step: int
    epoch: int
    norms: Mapping[str, float]
    weights: Mapping[str, float]

    def row(self) -> Row:
        """Return the event as a JSON object, without the mappings that are empty."""
        return {name: value for name, value in super().row().items() if value != {}}

    def send(self, callback: Callback) -> None:
        """Call `on_gradient_norms`."""
        callback.on_gradient_norms(self)


@dataclass(frozen=True)
class EpochEnd(Event):
    """An epoch is over and a student was validated; epoch: the number of epochs done; val: its metrics."""

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
    """The training is complete; seconds: its duration, over all processes that worked on it."""

    kind = "end"
    step: int
    seconds: float

    def send(self, callback: Callback) -> None:
        """Call `on_train_end`."""
        callback.on_train_end(self)


@dataclass(frozen=True)
class Message(Event):
    """A note or a warning; step: the step of the training, None outside of one."""

    message: str
    kind: Literal["note", "warning"] = "note"
    step: int | None = None

    def row(self) -> Row:
        """Return the event as a JSON object, without a step if there is none."""
        step = {} if self.step is None else {"step": self.step}
        return {"kind": self.kind} | step | {"message": self.message}

    def send(self, callback: Callback) -> None:
        """Call `on_message`."""
        callback.on_message(self)
