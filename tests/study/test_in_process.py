"""Trials in this process: with objects, one after the other, and a stop that isn't taken for a lost process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage import models
from tutelage.errors import Interrupted
from tutelage.runs.inputs import Provided
from tutelage.study import worker
from tutelage.study.engines.base import Job
from tutelage.study.engines.in_process import InProcess

KEYS = {
    "student": "object:CNN", "teacher": "none", "method": None, "data": "digits", "limit": 64, "epochs": 2,
    "batch_size": 32, "device": "cpu",
}  # fmt: skip


def engine() -> InProcess:
    return InProcess(Provided(student=models.create("cnn2", classes=10, channels=1).model))


def test_objects_are_trained_and_paused(tmp_path: Path) -> None:
    here = engine()
    job = Job("a", KEYS, str(tmp_path / "a"), 1, pause=1)
    here.start(job)
    assert [(end.trial, end.state) for end in here.ended(1.0)] == [("a", "paused")]
    assert here.ended(1.0) == []
    here.start(Job("a", KEYS, str(tmp_path / "a"), 1))
    assert [end.state for end in here.ended(1.0)] == ["done"]
    assert (tmp_path / "a" / "result.json").exists()


def test_a_stop_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(config: object, provided: object) -> None:
        raise Interrupted("stopped by SIGINT at step 3")

    monkeypatch.setattr(worker, "begin_or_resume", stopped)
    here = engine()
    here.start(Job("a", KEYS, str(tmp_path / "a"), 1))
    with pytest.raises(Interrupted, match="SIGINT at step 3"):
        here.ended(1.0)
    here.start(Job("b", KEYS, str(tmp_path / "b"), 1))
    here.close()
    assert here.ended(1.0) == []
