"""The rows of a leaderboard: the trainings of a student, teacher and method, gathered over seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from tutelage.study.protocols.protocol import PublishedFigure
from tutelage.study.sample_noise import SampleNoise
from tutelage.utils.intervals import Interval, confidence_interval

Trial = Mapping[str, Any]
"""A training of a study: role (teacher, alone or method), student, teacher, method, seed, state (done, failed, stopped
or waiting), reason, folder (relative to the study's) and result (the run's result.json, or None)."""

ROLES = ("teacher", "alone", "method")
"""The roles of rows, in order."""

Key = tuple[str, str, str, str]
"""A row's role, student, teacher and method."""


@dataclass(frozen=True)
class Gain:
    """The paired differences of a row from a reference row, seed by seed, and what follows from them.

    Args:
        reference: the reference's method: alone or kd.
        teacher: the reference's teacher.
        values: the differences by seed, of the seeds that both rows have.
        mean: their mean.
        spread: their standard deviation; None for one seed.
        interval: the 95 % t interval of their mean, which isn't corrected for the number of comparisons.
        p: the p value of their mean; None for one seed, and for differences that are all equal.
        corrected_p: p, corrected by Holm for all comparisons of the leaderboard.
        verdict: beats, worse or undecided, by corrected_p.
        effect: the effect size d_z with Hedges' correction.
        seeds_to_decide: about how many seeds decide an undecided row, if mean and spread are as measured.
        noise: how much of the gain the samples of the test set may account for.
    """

    reference: str
    teacher: str
    values: dict[int, float]
    mean: float
    spread: float | None = None
    interval: Interval | None = None
    p: float | None = None
    corrected_p: float | None = None
    verdict: str = "undecided"
    effect: float | None = None
    seeds_to_decide: int | None = None
    noise: SampleNoise | None = None


@dataclass(frozen=True)
class Cost:
    """Measured times of a row: of all its trainings together, of one training, and of one step."""

    total_seconds: float | None = None
    seconds: float | None = None
    step_ms: float | None = None


@dataclass(frozen=True)
class Unfinished:
    """A training without a result: its seed, state (failed, stopped, waiting, without a figure), reason and folder."""

    seed: int
    state: str
    reason: str
    folder: str


@dataclass(frozen=True)
class Row:
    """The figures of one student, teacher and method: the metric and the run's folder by seed, gains and cost.

    published: the figure that was published for them, if the study has a protocol of which it is.
    """

    role: str
    student: str
    teacher: str
    method: str
    values: dict[int, float] = field(default_factory=dict)
    folders: dict[int, str] = field(default_factory=dict)
    parameters: int | None = None
    macs: float | None = None
    unfinished: Sequence[Unfinished] = ()
    cost: Cost = field(default_factory=Cost)
    gains: Mapping[str, Gain] = field(default_factory=dict)
    published: PublishedFigure | None = None

    @property
    def key(self) -> Key:
        """The row's role, student, teacher and method."""
        return self.role, self.student, self.teacher, self.method

    @property
    def mean(self) -> float | None:
        """The mean over seeds; None without a result."""
        return fmean(self.values.values()) if self.values else None

    @property
    def interval(self) -> Interval | None:
        """The 95 % t interval of the mean; None for fewer than two seeds."""
        return confidence_interval(list(self.values.values()))

    @property
    def beyond_published(self) -> float | None:
        """The mean less the published figure; None if either isn't known."""
        return None if self.mean is None or self.published is None else self.mean - self.published.value

    @property
    def holds_published(self) -> bool | None:
        """True if the 95 % interval of the mean holds the published figure; None if either isn't known."""
        if self.interval is None or self.published is None:
            return None
        return self.interval[0] <= self.published.value <= self.interval[1]

    def verdict(self, reference: str) -> str:
        """Return the verdict against a reference; empty if the row isn't compared with it."""
        return self.gains[reference].verdict if reference in self.gains else ""


def gather(trials: Sequence[Trial], metric: str) -> list[Row]:
    """Return a row for each role, student, teacher and method, in the order of their names."""
    groups: dict[Key, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[_key(trial)].append(trial)
    rows = [_row(key, sorted(groups[key], key=lambda trial: trial["seed"]), metric) for key in sorted(groups)]
    return [*_given_teachers(trials, rows, metric), *rows]


def _key(trial: Trial) -> Key:
    """Return the key of a trial's row; a teacher's is the same whether its name is that of student or teacher."""
    role, student, teacher, method = (str(trial[name] or "") for name in ("role", "student", "teacher", "method"))
    keys: dict[str, Key] = {"teacher": (role, "", teacher or student, ""), "alone": (role, student, "", "alone")}
    return keys.get(role, (role, student, teacher, method))


def _row(key: Key, trials: Sequence[Trial], metric: str) -> Row:
    done = [trial for trial in trials if trial["state"] == "done" and _is_known(_student(trial).get(metric))]
    students = [_student(trial) for trial in done]
    unfinished = [Unfinished(t["seed"], _state(t), _reason(t, metric), t["folder"]) for t in trials if t not in done]
    return Row(
        *key,
        values={trial["seed"]: float(student[metric]) for trial, student in zip(done, students, strict=True)},
        folders={trial["seed"]: trial["folder"] for trial in done},
        parameters=students[0]["parameters"] if students else None,
        macs=students[0]["macs"] if students else None,
        unfinished=unfinished,
        cost=_cost(students),
    )


def _student(trial: Trial) -> Mapping[str, Any]:
    return (trial["result"] or {}).get("student") or {}


def _is_known(figure: float | None) -> bool:
    """Return whether a metric is a number: it is NaN where the data has nothing to judge by, or a training diverged."""
    return figure is not None and math.isfinite(figure)


def _state(trial: Trial) -> str:
    """Return the state of a trial that has no figure, which is done if its metric isn't a number."""
    return "without a figure" if trial["state"] == "done" else str(trial["state"])


def _reason(trial: Trial, metric: str) -> str:
    """Return why a trial has no figure."""
    if trial["state"] != "done":
        return str(trial["reason"])
    figure = _student(trial).get(metric)
    return f"its result has no {metric}" if figure is None else f"its {metric} is {figure}"


def _cost(students: Sequence[Mapping[str, Any]]) -> Cost:
    """Return the times of trained students; none of those that were fitted or given."""
    seconds, steps = ([s[key] for s in students if s.get(key) is not None] for key in ("seconds", "step_ms"))
    return Cost(sum(seconds), fmean(seconds), fmean(steps) if steps else None) if seconds else Cost()


def _given_teachers(trials: Sequence[Trial], rows: Sequence[Row], metric: str) -> list[Row]:
    """Return a row for each teacher that the study didn't train, from the first run that it taught."""
    found = {row.teacher: row for row in rows if row.role == "teacher"}
    taught = sorted((t for t in trials if t["teacher"] and t["result"]), key=lambda t: (t["teacher"], t["seed"]))
    for trial in taught:
        teacher, name = trial["result"].get("teacher") or {}, str(trial["teacher"])
        if name not in found and _is_known(teacher.get(metric)):
            found[name] = Row(
                "teacher", "", name, "", {trial["seed"]: teacher[metric]},
                parameters=teacher["parameters"], macs=teacher["macs"],
            )  # fmt: skip
    return [row for row in found.values() if row not in rows]
