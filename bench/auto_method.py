"""Does method=auto choose well, and what does its choice cost? On four pairs, against the full study of its candidates.

    python bench/auto_method.py --data FOLDER [--pairs digits,housing,fashion,eurosat] [--out FOLDER, where it goes on]

FOLDER has fashion.npz and eurosat.npz (of bench/smaller.py), and california_housing.csv. Of each pair a teacher is
trained once. method=auto chooses by validation samples, with SEEDS seeds of its own; then every candidate and the
student alone are trained for all epochs with SEEDS other seeds, and judged on test. Time is process time, one thread,
without the teacher's training; that of the choice has all of it: dry runs, the layers' quality and the short
trainings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure
import torch

import tutelage
from tutelage.config.schema import check
from tutelage.runs.inputs import Provided
from tutelage.runs.resuming import begin_or_resume
from tutelage.study.auto import Choice
from tutelage.study.store import Store
from tutelage.utils.console import format_metric

SEEDS = 3
SAME: dict[str, Any] = {"device": "cpu", "split_seed": 0}
"""The keys of all trainings."""
TRAINED: dict[str, Any] = {"teacher": "none", "method": None}
"""The keys of a teacher's training."""


@dataclass(frozen=True)
class Pair:
    """A teacher, a student and their data; teacher_epochs: those of the teacher's training."""

    teacher: str
    student: str
    data: dict[str, Any]
    teacher_epochs: int = 40

    @property
    def teacher_keys(self) -> dict[str, Any]:
        """The keys of the teacher's training that aren't the student's."""
        return {"student": self.teacher, "epochs": self.teacher_epochs}


def pairs(folder: str) -> dict[str, Pair]:
    """Return the pairs by name."""
    housing = {"data": f"csv:{folder}/california_housing.csv", "target": "median_house_value"}
    housing |= {"metric": "mae"}  # one row that is far from all others would decide the root of squares
    return {
        "digits": Pair("cnn16", "cnn2", {"data": "digits", "epochs": 40}),
        "housing": Pair("mlp-64-64", "mlp-8-8", housing | {"limit": 4000, "epochs": 24}),
        "fashion": Pair("cnn16", "cnn4", {"data": f"npz:{folder}/fashion.npz", "epochs": 24}),
        "eurosat": Pair("resnet8", "cnn4", {"data": f"npz:{folder}/eurosat.npz", "limit": 1000, "epochs": 24}),
    }


@dataclass(frozen=True)
class Outcome:
    """What a pair came to: the choice, the best of the full study with its interval, the means, and both costs."""

    choice: dict[str, Any]
    board: Any
    choice_seconds: float
    study_seconds: float

    def means(self) -> dict[str, float]:
        """Return the mean test figure of each candidate that was trained."""
        rows = [row for row in self.board.rows if row.role != "teacher" and row.mean is not None]
        return {row.method: row.mean for row in rows}

    @property
    def best(self) -> str:
        """The candidate with the best mean on test."""
        means = self.means()
        return (max if self.choice["higher_is_better"] else min)(means, key=means.__getitem__)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the best's mean."""
        low, high = next(row for row in self.board.rows if row.method == self.best).interval
        return low, high

    @property
    def within(self) -> bool:
        """Whether the chosen candidate's mean on test isn't worse than the interval of the best's."""
        mean, (low, high) = self.means()[self.choice["chosen"]], self.interval
        return mean >= low if self.choice["higher_is_better"] else mean <= high


def run(pair: Pair, folder: Path) -> Outcome:
    """Train a pair's teacher, choose, and run the full study."""
    keys = SAME | pair.data
    teacher = folder / "teacher"
    begin_or_resume(check(TRAINED | keys | pair.teacher_keys | {"out": str(teacher)}), Provided())
    shared = keys | {"student": pair.student, "teacher": str(teacher)}
    began = time.process_time()
    chosen = Choice.begin(
        shared | {"method": "auto", "seed": 100, "seeds": SEEDS, "out": str(folder / "auto")}, notify=print
    )
    chosen.run()
    spent = folder / "choice_seconds.json"  # of a benchmark that goes on: that of the call that chose
    if not spent.exists():
        spent.write_text(json.dumps(time.process_time() - began), encoding="utf-8")
    seconds = json.loads(spent.read_text(encoding="utf-8"))
    methods = [{"name": c["name"], "method": c["method"]} for c in chosen.read("plan.json")["candidates"]]
    study = tutelage.compare(methods, **shared, seeds=SEEDS, processes=1, out=str(folder / "study"))
    trials = Store.open(folder / "study").trials().values()
    return Outcome(chosen.read("choice.json"), study.board, seconds, sum(trial.seconds or 0.0 for trial in trials))


def row(name: str, pair: Pair, outcome: Outcome) -> str:
    """Return the pair's row of the table."""
    choice, means, (low, high) = outcome.choice, outcome.means(), outcome.interval
    cells = [
        f"{name}: {pair.teacher} → {pair.student}",
        choice["metric"],
        f"{choice['chosen']} {format_metric(means[choice['chosen']])}",
        f"{outcome.best} {format_metric(means[outcome.best])} ({format_metric(low)} … {format_metric(high)})",
        format_metric(means["alone"]),
        "yes" if outcome.within else "no",
        f"{outcome.choice_seconds:.0f} s of {outcome.study_seconds:.0f} s",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the pairs, print the table, and the figures with their bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pairs", default="digits,housing,fashion,eurosat")
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(args.out or tempfile.mkdtemp())
    figures: list[measure.Figure] = []
    rows = [
        "| pair | metric | chosen | best of the full study | alone | within | cost of the choice |",
        "|---" * 7 + "|",
    ]
    for name in args.pairs.split(","):
        pair = pairs(args.data)[name]
        outcome = run(pair, root / name)
        rows.append(row(name, pair, outcome))
        print(json.dumps({"pair": name, "means": outcome.means(), "reasons": outcome.choice["reasons"]}), flush=True)
        figures.append((f"{name}: choice outside the interval of the best", float(not outcome.within), 0.0))
        figures.append(
            (f"{name}: cost of the choice / full study", outcome.choice_seconds / outcome.study_seconds, 0.25)
        )
    print("\n".join(["", *rows, ""]))
    measure.conclude(figures)


if __name__ == "__main__":
    main()
