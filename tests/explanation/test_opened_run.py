"""Which folders are opened to be explained, and how many samples of their data are looked at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tutelage.errors import CheckpointError
from tutelage.explanation.opened_run import open_finished
from tutelage.runs.inputs import Provided


def test_what_isnt_a_run_isnt_called_an_unfinished_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no run folder"):
        open_finished(tmp_path, Provided(), 100, None)


def test_a_teacher_that_is_gone_is_named(run_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / "teacher" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"its teacher, cnn4, isn't there any more: put it back where it was"):
        open_finished(folder, Provided(), 100, None)


def test_no_figure_has_more_samples_than_are_wanted(run_folder: Path) -> None:
    opened = open_finished(run_folder, Provided(), 20, None)
    assert [len(opened.part("test", most)[1]) for most in (None, 500, 5)] == [20, 20, 5]
