"""The leaderboard of a study: its rows with their gains over the student alone and over KD, and the verdicts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from tutelage.errors import CheckpointError, ConfigError
from tutelage.report.components import Unit
from tutelage.study.published import FollowedProtocol
from tutelage.study.rows import ROLES, Gain, Key, Row, Trial, gather
from tutelage.study.sample_noise import Scores, noise_of, read_scores
from tutelage.study.statistics import holm, level_of_next, paired_test, seeds_to_decide, verdicts
from tutelage.utils.intervals import paired_differences


@dataclass(frozen=True)
class Leaderboard:
    """The rows of a study: teachers first, then each student alone and its methods, the largest gain over it first.

    Args:
        study: the study's name.
        data: the data's name, its number of classes and of samples; test is None where validation samples judge.
        metric: the decisive metric.
        higher_is_better: whether more of it is better.
        command: the command that repeats the study.
        versions: the versions of the packages that trained it.
        rows: the rows.
        notes: files that couldn't be read.
        protocol: the published protocol of the study; None without one.
    """

    study: str
    data: Mapping[str, Any]
    metric: str
    higher_is_better: bool
    command: str
    versions: Mapping[str, str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    protocol: FollowedProtocol | None = None

    @property
    def students(self) -> list[str]:
        """The students' names."""
        return list(dict.fromkeys(row.student for row in self.rows if row.role != "teacher"))

    @property
    def judged_on(self) -> str:
        """The samples whose metric is given: test, or validation."""
        return "test" if self.data.get("test") or not self.data else "validation"

    @property
    def shown_metric(self) -> str:
        """The metric's name in tables, with the samples if they aren't test samples."""
        return self.metric if self.judged_on == "test" else f"{self.judged_on} {self.metric}"

    @property
    def comparisons(self) -> int:
        """The number of comparisons that the verdicts are corrected for."""
        return sum(gain.p is not None for row in self.rows for gain in row.gains.values())

    @property
    def is_fraction(self) -> bool:
        """True if the values are fractions, which are shown in percent."""
        return Unit.of((v for row in self.rows for v in row.values.values()), self.higher_is_better).percent

    def rows_of(self, student: str, role: str = "method") -> list[Row]:
        """Return a student's rows of a role that have results."""
        return [row for row in self.rows if (row.student, row.role) == (student, role) and row.values]

    def better(self, difference: float) -> float:
        """Return a difference with the sign that makes more the better."""
        return difference if self.higher_is_better else -difference

    def choice(self, student: str) -> Row | None:
        """Return the largest gain of the methods that beat the student alone, else the student alone; None without."""
        helpful = [row for row in self.rows_of(student) if row.verdict("alone") == "beats"]
        return next(iter([*helpful, *self.rows_of(student, "alone")]), None)


def build(
    trials: Sequence[Trial],
    *,
    study: str = "study",
    command: str = "",
    versions: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> Leaderboard:
    """Build the leaderboard; the same results give the same, in whichever order the trials come.

    Args:
        trials: the study's trainings.
        study: the study's name.
        command: the command that repeats it.
        versions: the versions of the packages that trained it.
        root: the study's folder, for the predictions of its runs; None: the noise of the test set stays unknown.

    Raises: ConfigError if the trials have different metrics.
    """
    results = [trial["result"] for trial in trials if trial["result"]]
    metric, higher_is_better = _metric(results)
    rows = gather(trials, metric)
    known = {row.key: row for row in rows}
    references = {row.key: _references(row, known, higher_is_better) for row in rows}
    rows = _judged([replace(row, gains=_gains(row, references[row.key])) for row in rows], higher_is_better)
    scores, notes = ({}, []) if root is None else _scores(root, trials)
    rows = [_with_noise(row, references[row.key], scores) for row in rows]
    versions = dict(sorted((versions or {}).items()))
    board = Leaderboard(study, _data(trials), metric, higher_is_better, command, versions, rows, notes)
    return replace(board, rows=sorted(rows, key=lambda row: _place(row, board)))


def _metric(results: Sequence[Mapping[str, Any]]) -> tuple[str, bool]:
    """Return the results' metric, and whether more of it is better."""
    metrics = sorted({(result["metric"], result["higher_is_better"]) for result in results})
    if len(metrics) > 1:
        names = " and ".join(name for name, _ in metrics)
        raise ConfigError(f"the results are in {names}: expected one metric; set metric=… for all runs of the study.")
    return metrics[0] if metrics else ("metric", True)


def _data(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the name and the sizes of the students' data."""
    done = sorted((t for t in trials if t["result"]), key=lambda t: (t["role"] == "teacher", t["folder"]))
    if not done:
        return {}
    data = done[0]["result"]["data"]
    sizes = {key: data.get(key) for key in ("name", "train", "val", "test")}
    return sizes | {"classes": len(data.get("classes") or ())}


def _place(row: Row, board: Leaderboard) -> tuple[Any, ...]:
    """Return a row's place: by role and student, then the largest gain, the best mean, and those without results.

    Means of different seeds aren't comparable, and gains, which are paired by seed, are.
    """
    figures = row.gains["alone"].mean if "alone" in row.gains else None, row.mean
    best_first = [math.inf if figure is None else -board.better(figure) for figure in figures]
    return row.role != "teacher", row.student, ROLES.index(row.role), *best_first, row.method, row.teacher


def _references(row: Row, known: Mapping[Key, Row], higher_is_better: bool) -> dict[str, Row]:
    """Return the rows that a method is compared with: the student alone, and KD by the same teacher, else the best KD.

    The teacher of "cnn8 ×3", several seeds of one, is cnn8.
    """
    found = {"alone": [known[key] for key in known if key == ("alone", row.student, "", "alone")]}
    taught = [r for r in known.values() if (r.role, r.student, r.method) == ("method", row.student, "kd") and r.values]
    taught.sort(key=lambda kd: fmean(kd.values.values()), reverse=higher_is_better)
    found["kd"] = [kd for kd in taught if kd.teacher == one_teacher(row.teacher)] or taught
    return {name: rows[0] for name, rows in found.items() if rows and row.role == "method" and row.method != name}


def one_teacher(name: str) -> str:
    """Return the teacher of which several seeds teach, as in "cnn8 ×3"; another name as it is."""
    return re.sub(r" ×\d+$", "", name)


def _gains(row: Row, references: Mapping[str, Row]) -> dict[str, Gain]:
    """Return the gains of a method over its references, by seed; none where they have no seed in common."""
    gains = {}
    for name, reference in references.items():
        seeds = [seed for seed in row.values if seed in reference.values]
        differences = paired_differences(*([each.values[seed] for seed in seeds] for each in (row, reference)))
        values = dict(zip(seeds, differences, strict=True))
        if values:
            test = paired_test(list(values.values()))
            low, high = (_number(bound) for bound in test.interval)
            interval = None if low is None or high is None else (low, high)
            gains[name] = Gain(
                name, reference.teacher, values, float(test.mean), _number(test.spread), interval,
                _number(test.p), effect=_number(test.effect),
            )  # fmt: skip
    return gains


def _number(value: Any) -> float | None:
    """Return a number as a float; None for NaN."""
    return None if math.isnan(value) else float(value)


def _judged(rows: Sequence[Row], higher_is_better: bool) -> list[Row]:
    """Return the rows with verdicts, corrected for all comparisons, and the seeds that would decide the others."""
    comparisons = [gain for row in rows for gain in row.gains.values()]
    corrected = holm([math.nan if gain.p is None else gain.p for gain in comparisons])
    words, level = verdicts([gain.mean for gain in comparisons], corrected, higher_is_better), level_of_next(corrected)
    judged = iter(
        [
            replace(
                gain,
                corrected_p=_number(p),
                verdict=str(word),
                seeds_to_decide=seeds_to_decide(gain.mean, gain.spread or 0, level) if word == "undecided" else None,
            )
            for gain, p, word in zip(comparisons, corrected, words, strict=True)
        ]
    )
    return [replace(row, gains={name: next(judged) for name in row.gains}) for row in rows]


def _scores(root: Path, trials: Sequence[Trial]) -> tuple[dict[str, Scores], list[str]]:
    """Return the scores on the test samples by folder, and notes on those that can't be read."""
    scores, notes = {}, []
    for trial in sorted(trials, key=lambda trial: trial["folder"]):
        if trial["state"] == "done" and trial["result"] and trial["role"] != "teacher":
            try:
                found = read_scores(root / trial["folder"], trial["result"])
            except CheckpointError as error:
                notes.append(str(error))
                continue
            scores.update({} if found is None else {trial["folder"]: found})
    return scores, notes


def _with_noise(row: Row, references: Mapping[str, Row], scores: Mapping[str, Scores]) -> Row:
    """Return a row with the noise of the test set in its gains."""

    def of(row: Row) -> dict[int, Scores]:
        return {seed: scores[folder] for seed, folder in row.folders.items() if folder in scores}

    gains = {name: replace(gain, noise=noise_of(of(row), of(references[name]))) for name, gain in row.gains.items()}
    return replace(row, gains=gains)
