"""Small finished runs to explain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tutelage
from tutelage.explanation.opened_run import OpenedRun, open_finished
from tutelage.runs.inputs import Provided


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """Two seeds of kd and at on the digits."""
    out = str(tmp_path_factory.mktemp("runs") / "digits")
    keys = {"epochs": 2, "teacher_epochs": 3, "limit": 200, "device": "cpu"}
    return tutelage.distill("cnn2", "cnn4", method="kd+at", seeds=2, out=out, progress=False, **keys).folder


@pytest.fixture(scope="session")
def opened(run_folder) -> OpenedRun:
    return open_finished(run_folder, Provided(), 400, None)


@pytest.fixture(scope="session")
def figures(opened) -> Callable:
    """A function that makes a group's figures, by name."""
    return lambda group: {figure.name: figure for figure in group.figures(opened)}
