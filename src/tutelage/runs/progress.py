"""Progress of a run: a live line on a terminal, else a few plain lines a phase."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from tutelage.errors import plain
from tutelage.training.callbacks import Callback
from tutelage.training.events import EpochEnd, Message, StepEnd, TrainBegin, TrainEnd
from tutelage.utils.console import console, format_duration, format_metric

LINES = 8
"""Plain lines a phase."""


class ProgressDisplay(Callback):
    """Displays phase, epoch, validation metrics, losses and the time left, the layers that `auto` paired, and messages.

    seeds: the number of phases of each role; 0: unknown, then numbers are those of the folders.
    """

    def __init__(self, seeds: int = 0) -> None:
        self.seeds = seeds
        self.console = console()
        self.bar = Bar(
            TextColumn("{task.description:<14}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            console=self.console,
            transient=True,
        )
        self.live = self.console.is_terminal
        self.watched = self.live or self.console.is_jupyter
        self.task = self.bar.add_task("", state="", visible=False)
        self.name, self.phases, self.begun = "", 1, 0
        self.epochs, self.steps = 1, 1
        self.first = 0  # the epoch that this process began the phase with
        self.since = time.monotonic()
        self.spent, self.done = 0.0, 0  # seconds and epochs of the phases finished here
        self.losses, self.figures = "", ""
        self.printed: set[tuple[str, ...]] = set()

    def __enter__(self) -> ProgressDisplay:
        if self.live:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.bar.stop()

    def on_phase_begin(self, phase: str, phases: int) -> None:
        """Begin the display of a phase."""
        role, _, number = phase.partition("-")
        count = f" {int(number) + 1}" + (f"/{self.seeds}" if self.seeds else "") if number else ""
        self.name = role + (count if self.seeds != 1 else "")
        self.phases, self.begun = phases, self.begun + 1

    def on_resume(self, step: int, epoch: int) -> None:
        """Print the step from which the phase goes on; `on_train_begin` is called after it."""
        if step > 0:
            self._line(f"{self.name}: goes on from step {step:,}")

    def on_train_begin(self, event: TrainBegin) -> None:
        """Print the phase's epochs and steps, and the layers that `auto` paired."""
        self.epochs, self.steps, self.since = event.epochs, event.steps, time.monotonic()
        self.first = event.step // max(event.steps, 1)
        self.losses = self.figures = ""
        self._line(f"{self.name}: {event.epochs} epochs of {event.steps} steps")
        for term, pairs in event.pairs.items():
            self._once(*(f"  {term}: student {s} ← teacher {t}" for s, t in pairs))
        self.bar.update(self.task, description=plain(self.name), total=self.epochs, completed=self.first, visible=True)

    def on_step_end(self, event: StepEnd) -> None:
        """Show the first losses."""
        self.losses = "  ".join(f"{name} {value:.3g}" for name, value in list(event.losses.items())[:4])
        self._show(event.epoch)

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Show the validation metrics; off a terminal, print a line now and then."""
        metrics = {name: value for name, value in event.val.items() if name != "loss"}
        self.figures = "  ".join(f"{name} {format_metric(value)}" for name, value in metrics.items())
        self._show(event.epoch)
        every = max(self.epochs // LINES, 1)
        if not self.live and event.epoch % every == 0 and event.epoch < self.epochs:
            self._line(f"  {self._state(event.epoch)}")

    def on_train_end(self, event: TrainEnd) -> None:
        """Print the phase's duration and validation metrics."""
        self.spent += time.monotonic() - self.since
        self.done += self.epochs - self.first
        self._line(f"{self.name}: done in {format_duration(event.seconds)}, validation {self.figures or '–'}")

    def on_message(self, event: Message) -> None:
        """Print the message, once."""
        self._once(f"{event.kind}: {event.message}")

    def _show(self, epoch: float) -> None:
        self.bar.update(self.task, completed=epoch, state=plain(self._state(epoch)))

    def _state(self, epoch: float) -> str:
        left, all_left = self._left(epoch)
        parts = [f"epoch {min(int(epoch) + (epoch % 1 > 0), self.epochs)}/{self.epochs}", self.figures, self.losses]
        parts += [f"{format_duration(left)} left, run {format_duration(all_left)}"]
        return "  ".join(part for part in parts if part)

    def _left(self, epoch: float) -> tuple[float, float]:
        """Return the seconds left of the phase and of the run, if the phases to come are like this one."""
        now = time.monotonic() - self.since
        played = max(epoch - self.first, 1e-6)
        left = now / played * (self.epochs - epoch)
        mean = (self.spent + now) / (self.done + played)
        return left, left + mean * self.epochs * max(self.phases - self.begun, 0)

    def _once(self, *lines: str) -> None:
        if lines not in self.printed:
            self.printed.add(lines)
            for line in lines:
                self._line(line)

    def _line(self, text: str) -> None:
        target: Any = self.bar.console if self.live else self.console
        target.print(plain(text), soft_wrap=True)
