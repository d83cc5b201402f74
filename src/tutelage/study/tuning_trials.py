"""The trials of a search as jobs: which comes next, and what came of each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tutelage.study.engines.base import Ended, Job, Jobs
from tutelage.study.optuna_search import OptunaSearch, TuningTrial
from tutelage.study.stopping import MedianRule, read_curve
from tutelage.utils import checksums


class TuningTrials(Jobs):
    """The trials that are missing, at most `places` at once.

    Trial n knows the results of the trials 0 … n − places, and the points of those between, whichever ended first: it
    is a function of the seed, however long each takes and however often the search is stopped.

    Args:
        search: proposes the points.
        count: the number of trials.
        places: the number at once.
        job: a job with what all trials share: the folder of all, the keys beside the space's, and the threads.
        rule: decides which trials are hopeless; its metric judges them.
        prune: whether it ends them.
        trials: those that have ended.
        watch: called with each that ends.
    """

    def __init__(
        self, search: OptunaSearch, count: int, places: int, job: Job, rule: MedianRule, prune: bool,
        trials: Iterable[TuningTrial], watch: Callable[[TuningTrial], object],
    ) -> None:  # fmt: skip
        self.search, self.count, self.places, self.watch = search, count, places, watch
        self.job, self.rule, self.prune = job, rule, prune
        self.ended = {trial.number: trial for trial in trials}
        self.points = {trial.number: trial.point for trial in self.ended.values()}

    def next(self) -> Job | None:
        """Return the next trial's job; None if it needs the results of trials that run, or there is none."""
        number = next((n for n in range(self.count) if n not in self.points), self.count)
        before = range(max(0, number + 1 - self.places))
        if number == self.count or any(n not in self.ended for n in before):
            return None
        known = [self.ended[n] for n in before]
        begun = [self.points[n] for n in range(len(before), number)]
        point = self.points[number] = self.search.propose(known, begun)
        keys = {**self.search.space.keys(point), **self.job.keys}
        return replace(self.job, trial=str(number), keys=keys, folder=self._folder(number), stop=self._stop(known))

    def _folder(self, number: int) -> str:
        return str(Path(self.job.folder) / f"{number:03}")

    def _stop(self, known: Sequence[TuningTrial]) -> Mapping[str, Any] | None:
        """Return the rule with what is known; None if the trials aren't ended."""
        curves = [trial.curve for trial in known if trial.state == "done"]
        return asdict(replace(self.rule, curves=curves)) if self.prune else None

    def end(self, ended: Ended) -> None:
        """Record how a trial ended: its figure on validation, or the reason that it has none."""
        number, folder, metric = int(ended.trial), Path(self._folder(int(ended.trial))), self.rule.metric
        trial = TuningTrial(number, self.points[number], ended.state, None, read_curve(folder, metric), ended.reason)
        if ended.state == "done":
            value = json.loads(checksums.read_verified(folder / "result.json"))["student"][metric]
            judged = {"value": value} if math.isfinite(value) else {"state": "failed", "reason": f"{metric} is {value}"}
            trial = replace(trial, **judged)
        self.ended[number] = trial
        self.watch(trial)
