from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tutelage import api, cli
from tutelage.training.callbacks import Callback


@pytest.fixture
def tutelage(tmp_path, monkeypatch) -> Callable:
    """A function that runs the command line in this process, in an empty folder, returning exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUTELAGE_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, list(words), prog_name="tutelage")
        return result.exit_code, result.output

    return call


class Stop(Callback):
    """A callback that stops a run as a kill would: at a step, without notice to the trainer."""

    def on_step_end(self, event):
        if event.step >= 3:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def a_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    api.distill("cnn2", "cnn2", epochs=1, teacher_epochs=1, limit=64, device="cpu", out=str(folder))
    return folder


@pytest.fixture(scope="session")
def a_stop(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(KeyboardInterrupt):
        api.train(
            "cnn2", epochs=2, batch_size=16, limit=64, device="cpu", out=str(folder), checkpoint_every=0, log_every=1,
            callbacks=[Stop()],
        )  # fmt: skip
    return folder


@pytest.fixture
def finished(a_run, tmp_path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(a_run, tmp_path / "finished")


@pytest.fixture
def stopped(a_stop, tmp_path) -> Path:
    """A copy of a run that was killed at its third step, with two checkpoints."""
    return shutil.copytree(a_stop, tmp_path / "stopped")
