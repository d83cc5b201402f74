"""Which candidate of method=auto is chosen, and why: by validation figures alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from tutelage.errors import TutelageError
from tutelage.runs.summary import interval
from tutelage.study.candidates import PART, Candidate, ChoicePlan
from tutelage.study.methods import ALONE
from tutelage.study.store import StoredTrial
from tutelage.utils.console import format_duration, format_metric
from tutelage.utils.intervals import confidence_interval, paired_differences


@dataclass(frozen=True)
class Tried:
    """A candidate and its short trainings: figures by seed, of those that went to their end.

    state: done, if all did, else stopped or failed, with the reason. seconds, epochs: what its trainings took.
    """

    candidate: Candidate
    state: str
    reason: str
    values: Mapping[int, float]
    seconds: float
    epochs: int

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return fmean(self.values.values())

    def gains(self, other: Tried) -> list[float]:
        """Return the differences from another candidate's figures, seed by seed."""
        seeds = [seed for seed in self.values if seed in other.values]
        return paired_differences(*([each.values[seed] for seed in seeds] for each in (self, other)))


@dataclass(frozen=True)
class Verdict:
    """The choice among candidates, the cheapest kind first.

    A candidate ties with the best if their mean difference isn't larger than its standard error over seeds (with two
    seeds: if the seeds disagree). Of those that tie, the best of the cheapest kind is chosen; the student alone only if
    it is the best itself, since few seeds tie with everything.
    """

    plan: ChoicePlan
    tried: Sequence[Tried]
    metric: str
    higher_is_better: bool
    epochs: int

    @property
    def finalists(self) -> list[Tried]:
        """The candidates that were trained to the end.

        Raises: TutelageError if there is none.
        """
        if found := [each for each in self.tried if each.state == "done"]:
            return found
        first = self.tried[0]
        raise TutelageError(f"no candidate of method=auto could be trained; {first.candidate.name}: {first.reason}")

    @property
    def best(self) -> Tried:
        """The candidate with the best mean."""
        return self._best_of(self.finalists)

    def _best_of(self, tried: Sequence[Tried]) -> Tried:
        return (max if self.higher_is_better else min)(tried, key=lambda each: each.mean)

    @property
    def ties(self) -> list[Tried]:
        """The best, and the losses that tie with it."""
        best = self.best
        return [
            each for each in self.finalists if each is best or (each is not self.alone and is_tie(best.gains(each)))
        ]

    @property
    def alone(self) -> Tried | None:
        """The student alone; None if it couldn't be trained."""
        return next((each for each in self.finalists if each.candidate.name == ALONE), None)

    @property
    def chosen(self) -> Tried:
        """The best of the cheapest kind among those that tie with the best of all."""
        ties = self.ties
        return self._best_of([each for each in ties if each.candidate.kind == ties[0].candidate.kind])

    def reasons(self) -> list[str]:
        """Return why, in sentences: the rank, the ties, the gain over the student alone, the layers and the cost."""
        return [*self._rank(), *self._gain(), *self._layers(), self._cost()]

    def _rank(self) -> list[str]:
        chosen, best = self.chosen, self.best
        figure = f"validation {self.metric} {format_metric(chosen.mean)}, mean of {len(chosen.values)} seeds"
        name = describe(chosen.candidate)
        if chosen is best:
            place = f"the best of {len(self.tried)} candidates"
        else:
            place = f"of the cheapest kind among {len(self.ties)} that their seeds can't tell from the best"
        sentences = [f"method=auto chose {name}: {figure}, {place} after {self.plan.epochs} epochs."]
        if chosen is not best:
            gap = format_metric(best.mean - chosen.mean, "+")
            sentences.append(f"The best, {describe(best.candidate)}, differs by {gap}, within the standard error.")
        stopped = [each.candidate.name for each in self.tried if each.state == "stopped"]
        failed = [each.candidate.name for each in self.tried if each.state == "failed"]
        sentences += [f"Behind at half of it or before, so stopped: {', '.join(stopped)}."] if stopped else []
        return sentences + ([f"Failed: {', '.join(failed)}."] if failed else [])

    def _gain(self) -> list[str]:
        if self.alone is None or self.alone is self.chosen:
            return []
        gains = self.chosen.gains(self.alone)
        bounds = confidence_interval(gains)
        where = f" (95 % interval {interval([*bounds], '+')})" if bounds else ""
        return [f"Against the student alone: {format_metric(fmean(gains), '+')}{where}."]

    def _layers(self) -> list[str]:
        if not self.plan.pair:
            return []
        student, teacher = self.plan.pair
        return [f"Losses of one pair of layers compared {student} with the teacher's {teacher}, by its quality."]

    def _cost(self) -> str:
        epochs = sum(each.epochs for each in self.tried)
        seconds = sum(each.seconds for each in self.tried)
        return (
            f"The choice took {format_duration(seconds)} and {epochs} epochs, {epochs / self.epochs:.1f} times those "
            f"of one training, and {epochs / self.plan.whole:.0%} of training every candidate (at most {1 / PART:.0%})."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the choice as a JSON object."""
        return {
            "chosen": self.chosen.candidate.name,
            "method": self.chosen.candidate.method or None,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "judged_on": "val",
            "reasons": self.reasons(),
            "epochs": self.plan.epochs,
            "cost": {
                "seconds": sum(each.seconds for each in self.tried),
                "epochs": sum(each.epochs for each in self.tried),
                "share": sum(each.epochs for each in self.tried) / self.plan.whole,
            },
            "pair": list(self.plan.pair),
            "candidates": [_row(each, self.alone) for each in self.tried],
            "left_out": dict(self.plan.left_out),
        }


def is_tie(differences: Sequence[float]) -> bool:
    """Return whether the mean of differences isn't larger than its standard error; of one, whether it is 0."""
    if len(differences) < 2:
        return all(difference == 0 for difference in differences)
    return abs(fmean(differences)) <= stdev(differences) / math.sqrt(len(differences))


def describe(candidate: Candidate) -> str:
    """Return a candidate's name in a sentence."""
    return "the student alone" if candidate.name == ALONE else candidate.name


def conclude(
    plan: ChoicePlan, trials: Sequence[StoredTrial], metric: str, higher_is_better: bool, epochs: int
) -> dict[str, Any]:
    """Return the choice as a JSON object, from the trials of its study.

    epochs: those of the run that is to be trained.

    Raises: TutelageError if no candidate has a figure.
    """
    everyone = [Candidate(ALONE, "", ""), *plan.candidates]
    tried = [_tried(each, [t for t in trials if t.trial.method == each.name], plan, metric) for each in everyone]
    return Verdict(plan, tried, metric, higher_is_better, epochs).to_json()


def _tried(candidate: Candidate, trials: Sequence[StoredTrial], plan: ChoicePlan, metric: str) -> Tried:
    values = {t.trial.seed: float(t.result["student"][metric]) for t in trials if t.result is not None}
    finite = {seed: value for seed, value in values.items() if math.isfinite(value)}
    unfinished = [t for t in trials if t.result is None]
    state, reason = (unfinished[0].state, unfinished[0].reason) if unfinished else ("done", "")
    if not unfinished and len(finite) < len(values):
        state, reason = "failed", f"{metric} isn't a number"
    epochs = sum(plan.epochs if t.result is not None else t.epoch for t in trials)
    return Tried(candidate, state, reason, finite, sum(t.seconds or 0.0 for t in trials), epochs)


def _row(tried: Tried, alone: Tried | None) -> dict[str, Any]:
    gains = [] if alone is None or tried is alone else tried.gains(alone)
    return {
        "name": tried.candidate.name,
        "kind": tried.candidate.kind,
        "state": tried.state,
        "reason": tried.reason,
        "values": list(tried.values.values()),
        "mean": tried.mean if tried.values else None,
        "gain": fmean(gains) if gains else None,
        "interval": confidence_interval(gains),
        "seconds": tried.seconds,
        "epochs": tried.epochs,
    }
