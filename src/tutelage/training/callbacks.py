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
        """Pass any event on to its own hook below; to be overridden by what treats all events alike."""
        event.send(self)

    def on_phase_begin(self, phase: str, phases: int) -> None:
        """A phase of a run begins; phases: how many the run has."""

    def on_resume(self, step: int, epoch: int) -> None:
        """Training goes on from this step, after this many validated epochs: forget what came later."""

    def on_train_begin(self, event: TrainBegin) -> None:
        """A training begins or goes on."""

    def on_step_end(self, event: StepEnd) -> None:
        """A log point is reached: after `log_every` steps, and after each epoch's last."""

    def on_gradient_norms(self, event: GradientNorms) -> None:
        """The terms' gradients were measured: before the first step of some epochs."""

    def on_epoch_end(self, event: EpochEnd) -> None:
        """An epoch is over and its student is validated."""

    def on_train_end(self, event: TrainEnd) -> None:
        """A training is complete."""

    def on_message(self, event: Message) -> None:
        """There is a note or a warning, from a training or from what prepares it."""


class JsonLines(Callback):
    """Appends each event's row to a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def on_event(self, event: Event) -> None:
        """Append its row."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(event.row()) + "\n")

    def on_resume(self, step: int, epoch: int) -> None:
        """Keep the rows up to there."""
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
        """Log its numbers under flat names."""
        row = event.row()
        metrics = flatten_metrics({k: v for k, v in row.items() if k in ("losses", "norms", "val", "lr", "seconds")})
        if metrics and "step" in row:
            self.logger.log_metrics({to_tag(name): value for name, value in metrics.items()}, step=row["step"])
        super().on_event(event)

    def on_train_end(self, event: TrainEnd) -> None:
        """Tell the logger that all went well."""
        self.logger.finalize("success")


def to_tag(name: str) -> str:
    """A figure's name as every logger takes it: letters, digits, `_-. /`, and numbers for what else there is."""
    return "".join(c if c.isalnum() or c in "_-. /" else f"_{ord(c):x}_" for c in name)


def flatten_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """{"losses": {"kd": 1}} → {"losses/kd": 1}; what isn't a number is left out."""
    result: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            result |= flatten_metrics(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            result[f"{prefix}{name}"] = float(value)
    return result
