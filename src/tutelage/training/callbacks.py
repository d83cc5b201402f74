"""Callbacks observe a training: they receive its events and change nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import CheckpointError
from tutelage.training.events import EpochEnd, Event, GradientNorms, Message, StepEnd, TrainBegin, TrainEnd
from tutelage.utils.files import write_text


class Callback:
    """Base class of callbacks: a subclass overrides the hooks that it needs; here they do nothing.

    Events are sent at log points only, so that the host doesn't wait for the device in between.

    Example:
        >>> import tempfile, tutelage
        >>> from tutelage.training.callbacks import Callback
        >>> class Epochs(Callback):
        ...     def on_epoch_end(self, event):
        ...         print("epoch", event.epoch, sorted(event.val))
        >>> run = tutelage.train(
        ...     "cnn2", data="digits", limit=64, epochs=1, batch_size=32, callbacks=[Epochs()],
        ...     out=tempfile.mkdtemp() + "/run",
        ... )
        epoch 1 ['accuracy', 'balanced_accuracy', 'loss', 'macro_f1']
    """

    def on_event(self, event: Event) -> None:
        """Call the hook of the event's kind; override it to treat all events alike."""
        event.send(self)

    def on_phase_begin(self, phase: str, phases: int) -> None:
        """Called when a phase of a run begins; phases: the number of phases of the run."""

    def on_resume(self, step: int, epoch: int) -> None:
        """Called when training continues from this step and number of validated epochs: discard anything later."""

    def on_train_begin(self, event: TrainBegin) -> None:
        """Called when a training begins or continues."""

    def on_step_end(self, event: StepEnd) -> None:
        """Called at a log point: every `log_every` steps, and after the last step of each epoch."""

    def on_gradient_norms(self, event: GradientNorms) -> None:
        """Called when the terms' gradient norms were measured: before the first step of some epochs."""

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Called at the end of an epoch, after the student was validated."""

    def on_train_end(self, event: TrainEnd) -> None:
        """Called when a training is complete."""

    def on_message(self, event: Message) -> None:
        """Called for a note or a warning from a training or its preparation."""


class JsonLines(Callback):
    """Appends each event's row to a file of JSON lines.

    Args:
        path: the file; its folder is created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def on_event(self, event: Event) -> None:
        """Append the event's row."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(event.row()) + "\n")

    def on_resume(self, step: int, epoch: int) -> None:
        """Remove the rows after this step and epoch."""
        if not self.path.exists():
            return
        if not self.path.is_file():
            raise CheckpointError(f"{self.path} isn't a file: remove it, since the training's rows are written there.")
        kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _before(line, step, epoch)]
        write_text(self.path, "".join(line + "\n" for line in kept))


def _before(line: str, step: int, epoch: int) -> bool:
    try:
        row = json.loads(line)
    except ValueError:  # the last line, torn when the process was killed
        return False
    if row["kind"] == "epoch":
        return bool(row["epoch"] <= epoch)
    if row["kind"] in ("begin", "norms"):  # their event precedes the step
        return bool(row["step"] < step)
    return bool(row["step"] <= step and row["kind"] != "end")


class Logger(Callback):
    """Passes the numbers of events to one of Fabric's loggers (TensorBoard, MLflow, W&B).

    Args:
        logger: a logger with `log_metrics` and `finalize`.
    """

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def on_event(self, event: Event) -> None:
        """Log the event's numbers under flat names."""
        row = event.row()
        metrics = flatten_metrics({k: v for k, v in row.items() if k in ("losses", "norms", "val", "lr", "seconds")})
        if metrics and "step" in row:
            self.logger.log_metrics({to_tag(name): value for name, value in metrics.items()}, step=row["step"])
        super().on_event(event)

    def on_train_end(self, event: TrainEnd) -> None:
        """Finalise the logger with the status "success"."""
        self.logger.finalize("success")


def to_tag(name: str) -> str:
    """Return a metric's name in the characters that every logger accepts; others become their code, as in `_2b_`."""
    return "".join(c if c.isalnum() or c in "_-. /" else f"_{ord(c):x}_" for c in name)


def flatten_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten nested metrics, {"losses": {"kd": 1}} → {"losses/kd": 1}; values that aren't numbers are left out."""
    result: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            result |= flatten_metrics(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            result[f"{prefix}{name}"] = float(value)
    return result
