"""The end of a hopeless trial, by its validation figures at the end of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tutelage.report.run_record import read_validation
from tutelage.study.optuna_search import import_optuna
from tutelage.training.callbacks import Callback
from tutelage.training.events import EpochEnd, TrainBegin

MEDIAN_OF, WARM = 5, 3
"""The trials before the first is ended, and the share (1/3) of a training before which none is."""


@dataclass(frozen=True)
class MedianRule:
    """A trial is hopeless if its best figure so far is worse than the median of the others' after as many epochs.

    Args:
        metric: the metric of validation.
        higher_is_better: its direction.
        epochs: the epochs of a training.
        curves: the figures of the other trials, which trained to their end.
    """

    metric: str
    higher_is_better: bool
    epochs: int
    curves: Sequence[Sequence[float]] = ()

    def is_hopeless(self, curve: Sequence[float]) -> bool:
        """Return whether a trial with this curve so far is hopeless."""
        optuna = import_optuna()
        study = optuna.create_study(
            pruner=optuna.pruners.MedianPruner(n_startup_trials=MEDIAN_OF, n_warmup_steps=self.epochs // WARM),
            direction="maximize" if self.higher_is_better else "minimize",
        )
        for other in self.curves:
            study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=dict(enumerate(other))))
        trial = study.ask()
        for step, value in enumerate(curve):
            trial.report(value, step)
        return bool(trial.should_prune())


class HopelessTrial(Exception):
    """A trial is worse than the others were at this point: it ends here; epochs: those that it has trained for."""

    def __init__(self, epochs: int) -> None:
        super().__init__(f"worse than half of the trials before, after {epochs} epochs")


class StopHopeless(Callback):
    """Ends the run of a trial by an exception as soon as its curve is hopeless.

    The curve is read from the run's folder, so that a trial that was killed ends where it would have ended.

    Args:
        folder: the run's folder.
        rule: decides.
    """

    def __init__(self, folder: Path, rule: MedianRule) -> None:
        self.folder, self.rule, self.checked = folder, rule, 0

    def on_train_begin(self, event: TrainBegin) -> None:
        """Check the epochs before a resumed training."""
        self._check()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Check the curve with this epoch.

        Raises: HopelessTrial.
        """
        self._check()

    def _check(self) -> None:
        curve = read_curve(self.folder, self.rule.metric)
        for epochs in range(self.checked + 1, len(curve) + 1):
            if self.rule.is_hopeless(curve[:epochs]):
                raise HopelessTrial(epochs)
        self.checked = len(curve)


def read_curve(folder: Path, metric: str) -> list[float]:
    """Return the validation metric of the first student after each epoch, one training of a run after the other."""
    trainings = sorted(folder.glob("student-*"), key=lambda training: int(training.name.rpartition("-")[2]))
    return [value for training in trainings for _, value in read_validation(training, metric)]
