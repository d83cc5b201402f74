"""A whole search in one call, as the command line does it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from tutelage.objective.spec import term_spec
from tutelage.objective.terms import Terms
from tutelage.runs.arguments import RunKeys, separate_objects
from tutelage.runs.finished_run import FinishedRun, open_run
from tutelage.study import tune_settings
from tutelage.study.tuning import Tuning
from tutelage.training.callbacks import Callback
from tutelage.utils import checksums


@dataclass(frozen=True)
class FinishedTuning:
    """A finished search: its folder and its result, tuning.json.

    Example:
        >>> import tempfile, tutelage
        >>> tuned = tutelage.tune(
        ...     "cnn2", teacher="none", method=None, search={"lr": [0.01, 0.3, "log"]}, trials=1, limit=64, epochs=1,
        ...     batch_size=32, out=tempfile.mkdtemp() + "/tuned",
        ... )
        >>> len(tuned.result["trials"]), tuned.report.name
        (1, 'tuning.html')
    """

    folder: Path
    result: dict[str, Any]
    student_module: nn.Module | None = field(default=None, repr=False)
    """The student, if it was passed as an object."""

    @property
    def run(self) -> FinishedRun:
        """The run of the choice, which was judged on test."""
        return open_run(self.folder / "tuned", self.student_module)

    @property
    def report(self) -> Path:
        """The page's file."""
        return self.folder / "tuning.html"


def tune(
    student: str | Mapping[str, Any] | nn.Module | None = None,
    teacher: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | nn.Module | None = None,
    data: Any = "digits",
    method: Any = "kd",
    search: Mapping[str, Any] | None = None,
    trials: int = 20,
    prune: bool = True,
    engine: str = "processes",
    processes: int = 1,
    threads: int | None = None,
    callbacks: Sequence[Callback] = (),
    notify: Callable[[str], object] = bool,
    **keys: Unpack[RunKeys],
) -> FinishedTuning:
    """Tune keys of a run: choose among trials on validation samples, then judge the choice on test.

    The same call goes on after an interruption. It requires `pip install 'tutelage[tune]'`.

    Args:
        student, teacher, data: as for `distill`.
        method: the same, of losses of the catalogue.
        search: the values of each key: [low, high], [low, high, "log"], a list of choices, or {"choices": […]}; options
            of a term by a path, as "method.kd.temperature".
        trials: the number of trials, each of `seeds` trainings.
        prune: whether to end trials that are worse than half of the others were after as many epochs.
        engine: what runs several trials at once: "processes" on this machine, or "ray" (Ray Tune).
        processes: the number of trials at once; with more than one, everything is given by name.
        threads: those of each trial on the CPU; None: all, divided among the trials at once.
        callbacks: additional callbacks of the trainer.
        notify: called with a line about each trial.
        keys: any other key of the configuration.

    Raises: ConfigError before the first training; TutelageError if all trials fail.

    Example:
        >>> import tempfile, tutelage
        >>> tuned = tutelage.tune(
        ...     "cnn2", "cnn2", search={"method.kd.temperature": [1, 8]}, trials=2, limit=64, epochs=1, batch_size=32,
        ...     teacher_epochs=1, out=tempfile.mkdtemp() + "/tuned",
        ... )
        >>> sorted(tuned.result["point"]), tuned.run.result["judged_on"]
        (['method.kd.temperature'], 'test')
    """
    more: dict[str, Any] = {**keys}
    provided, overrides = separate_objects(student, teacher, data, method, callbacks, more)
    if provided.method is not None:  # a search changes its options by their names
        overrides["method"] = [term_spec(term) for term in Terms.from_method(provided.method).named_terms().values()]
        provided = replace(provided, method=None)
    own = {"search": dict(search or {}), "trials": trials, "prune": prune}
    own |= {"engine": engine, "processes": processes, "threads": threads}
    settings, config = tune_settings.separate(overrides | more | own)
    return open_tuning(Tuning.begin(config, settings, provided, notify).run(), provided.student)


def open_tuning(folder: Path, student: nn.Module | None = None) -> FinishedTuning:
    """Return the finished search in a folder; student: a module of its kind, if it was passed as an object."""
    return FinishedTuning(folder, json.loads(checksums.read_verified(folder / "tuning.json")), student)
