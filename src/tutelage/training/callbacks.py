"""Callbacks watch a training; they get events and change nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import CheckpointError
from tutelage.training.events import EpochEnd, Event, GradientNorms, Message, StepEnd, TrainBegin, TrainEnd
from tutelage.utils.files import write_text


class Callback:
    """Watches a training: a subclass overrides the hooks that it needs, each of which is empty here.

    Events come at log points, so that nothing waits for the device in between.
    """

    def on_event(self, event: Event) -> None:
        """Pass an event on to its own hook below; override it to treat all events alike."""
        event.send(self)

    def on_phase_begin(self, phase: str, phases: int) -> None:
        """Called when a phase of a run begins; phases: the number of the run's phases."""

    def on_resume(self, step: int, epoch: int) -> None:
        """Called when training resumes from `step`, after `epoch` validated epochs: discard later events."""

    def on_train_begin(self, event: TrainBegin) -> None:
        """Called when a training begins or resumes."""

    def on_step_end(self, event: StepEnd) -> None:
        """Called at a log point: after `log_every` steps, and after each epoch's last."""

    def on_gradient_norms(self, event: GradientNorms) -> None:
        """Called when the terms' gradients were measured: before the first step of some epochs."""

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Called when an epoch is over and its student is validated."""

    def on_train_end(self, event: TrainEnd) -> None:
        """Called when a training is complete."""

    def on_message(self, event: Message) -> None:
        """Called for a note or a warning, from a training or its preparation."""


class JsonLines(Callback):
    """Appends each event's row to a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def on_event(self, event: Event) -> None:
        """Append the event's row."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(event.row()) + "\n")

    def on_resume(self, step: int, epoch: int) -> None:
        """Keep the rows up to that step."""
        if not self.path.exists():
            return
        if not self.path.is_file():
            raise CheckpointError(f"{self.path} is no file: remove it; the rows of the training go there.")
        kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _before(line, step, epoch)]
        write_text(self.path, "".join(line + "\n" for line in kept))


def _before(line: str, step: int, epoch: int) -> bool:
    try:
        row = json.loads(line)
    except ValueError:  # the last line, torn when the process was killed
        return False
    if row["kind"] == "epoch":
        return bool(row["epoch"] <= epoch)
    if row["kind"] in ("begin", "norms"):  # they come before their step
        return bool(row["step"] < step)
    return bool(row["step"] <= step and row["kind"] != "end")


class Logger(Callback):
    """Passes the numbers of events on to one of Fabric's loggers (TensorBoard, MLflow, W&B)."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def on_event(self, event: Event) -> None:
        """Log the event's numbers under flat names."""
        row = event.row()
        metrics = flat({k: v for k, v in row.items() if k in ("losses", "norms", "val", "lr", "seconds")})
        if metrics and "step" in row:
            self.logger.log_metrics({tag(name): value for name, value in metrics.items()}, step=row["step"])
        super().on_event(event)

    def on_train_end(self, event: TrainEnd) -> None:
        """Finish the logger successfully."""
        self.logger.finalize("success")


def tag(name: str) -> str:
    """Return a metric's name that all loggers accept: letters, digits, `_-. /`, and numbers for other characters."""
    return "".join(c if c.isalnum() or c in "_-. /" else f"_{ord(c):x}_" for c in name)


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """{"losses": {"kd": 1}} → {"losses/kd": 1}; what isn't a number is left out."""
    result: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            result[f"{prefix}{name}"] = float(value)
    return result
