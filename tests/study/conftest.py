"""Results of studies, made up and trained, in the form that a study hands them over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tutelage
from tutelage.errors import TutelageError

DATA = {"name": "digits", "train": 1078, "val": 360, "test": 359}
Trials = list[dict[str, Any]]


def make_trial(role: str, student: str, method: str, seed: int, value: float | None, **changes: Any) -> dict[str, Any]:
    """One trial; without a value it failed."""
    metric = changes.pop("metric", "accuracy")
    teacher = changes.pop("teacher", "cnn16" if role == "method" else "")
    summary = {metric: value, "parameters": 496, "macs": 3536.0, "seconds": 2.0 + seed, "step_ms": 4.0}
    result = {
        "task": "classification", "metric": metric, "higher_is_better": changes.pop("higher_is_better", True),
        "data": DATA, "student": summary, "teacher": {metric: 0.95, "parameters": 20_000, "macs": 1e5},
    }  # fmt: skip
    return {
        "role": role, "student": student, "teacher": teacher, "method": method, "seed": seed,
        "state": "failed" if value is None else "done", "reason": "the loss is NaN" if value is None else "",
        "folder": f"runs/{student}-{method}-{teacher}-{seed}", "result": None if value is None else result,
    } | changes  # fmt: skip


def make_trials(
    gains: Mapping[str, float | None], *, seeds: int = 5, students: Sequence[str] = ("cnn2",), noise: float = 0.004,
    **changes: Any,
) -> Trials:  # fmt: skip
    """Trials of students alone and of methods with these gains; a gain of None means failed trials."""
    random = np.random.default_rng(0)
    trials = []
    for number, student in enumerate(students):
        luck = 0.8 + 0.05 * number + random.normal(0, 0.01, seeds)
        rows = {"alone": 0.0, **gains}
        for method, gain in rows.items():
            role = "alone" if method == "alone" else "method"
            values = [None if gain is None else float(x + gain + random.normal(0, noise)) for x in luck]
            trials += [make_trial(role, student, method, seed, v, **changes) for seed, v in enumerate(values)]
    return trials


@pytest.fixture(scope="session")
def made() -> Callable[..., Trials]:
    return make_trials


@pytest.fixture
def trials(made: Callable[..., Trials]) -> Callable[..., Trials]:
    return made


@pytest.fixture
def trial() -> Callable[..., dict[str, Any]]:
    return make_trial


def train(folder: Path, role: str, student: str, method: str, seed: int, **keys: Any) -> dict[str, Any]:
    """Train one trial in its folder, or return why it failed."""
    trial = {"role": role, "student": student, "method": method, "seed": seed, "reason": "", "result": None}
    trial |= {"teacher": "cnn4" if role == "method" else "", "folder": f"{student}-{method or 'teacher'}-{seed}"}
    keys |= {"data": "digits", "limit": 200, "epochs": 4, "seed": seed, "out": str(folder / trial["folder"])}
    try:
        if role == "method":
            run = tutelage.distill(
                student, teacher=str(folder / "cnn4-teacher-0"), method=method, baseline=False, **keys
            )
        else:
            run = tutelage.train(student, **keys)
    except TutelageError as error:
        return trial | {"state": "failed", "reason": str(error)}
    return trial | {"state": "done", "result": run.result}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trials]:
    """A study of two students, alone, by KD and by DKD, over three seeds, and of a method that fails."""
    root = tmp_path_factory.mktemp("study")
    trials = [train(root, "teacher", "cnn4", "", 0)]
    for student in ("cnn2", "cnn3"):
        for seed in range(3):
            trials.append(train(root, "alone", student, "alone", seed))
            trials += [train(root, "method", student, method, seed) for method in ("kd", "dkd")]
    return root, [*trials, train(root, "method", "cnn2", "kd+no_such_loss", 0)]
