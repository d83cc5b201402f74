"""The end of a hopeless trial, by its validation figures at the end of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tutelage.report.run_record import read_lines, validation_points
from tutelage.training.callbacks import Callback
from tutelage.training.events import EpochEnd, TrainBegin


class HopelessTrial(Exception):
    """A trial is worse than the others were at this point: it ends here.

    Args:
        curve: its validation figures.
    """

    def __init__(self, curve: Sequence[float]) -> None:
        super().__init__(f"worse than half of the trials before, after {len(curve)} epochs")
        self.curve = curve


class StopHopeless(Callback):
    """Ends the run of a trial by an exception as soon as its curve is hopeless.

    The curve is read from the run's folder, so that a trial that was killed ends where it would have ended.

    Args:
        folder: the run's folder.
        metric: the metric that decides.
        is_hopeless: a function of the curve so far.
    """

    def __init__(self, folder: Path, metric: str, is_hopeless: Callable[[Sequence[float]], bool]) -> None:
        self.folder, self.metric, self.is_hopeless = folder, metric, is_hopeless
        self.checked = 0

    def on_train_begin(self, event: TrainBegin) -> None:
        """Check the epochs before a resumed training."""
        self._check()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Check the curve with this epoch.

        Raises: HopelessTrial.
        """
        self._check()

    def _check(self) -> None:
        curve = read_curve(self.folder, self.metric)
        for epochs in range(self.checked + 1, len(curve) + 1):
            if self.is_hopeless(curve[:epochs]):
                raise HopelessTrial(curve[:epochs])
        self.checked = len(curve)


def read_curve(folder: Path, metric: str) -> list[float]:
    """Return the validation metric of the first student after each epoch, one training of a run after the other."""
    files = sorted(folder.glob("student-*/metrics.jsonl"), key=lambda file: int(file.parent.name.rpartition("-")[2]))
    return [value for file in files for _, value in validation_points(read_lines(file), metric)]
