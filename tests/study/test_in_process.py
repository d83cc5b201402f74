"""Trials in this process: with objects, one after the other, and a stop that isn't taken for a lost process."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tutelage import data as datasets
from tutelage import models
from tutelage.config.schema import check
from tutelage.errors import Interrupted
from tutelage.runs.data import load_data
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


def test_jobs_load_their_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads, load = [], datasets.load
    monkeypatch.setattr(datasets, "load", lambda **options: loads.append(options["limit"]) or load(**options))
    here = engine()
    for name, own in {"a": {}, "b": {"seed": 1, "split_seed": 0}, "c": {"limit": 65}, "d": {"limit": 64}}.items():
        here.start(Job(name, {**KEYS, "epochs": 1, **own}, str(tmp_path / name), 1))
    assert [end.state for end in here.ended(1.0)] == ["done"] * 4
    assert loads == [64, 65]


def test_shared_data_are_fingerprinted_again(tmp_path: Path) -> None:
    def write(side: int, count: int = 8) -> None:
        for name in ("red", "blue"):
            (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.new("RGB", (side, side), name).save(tmp_path / "train" / name / f"{number}.png")

    write(80)
    config, kept = check({**KEYS, "student": "cnn2", "data": f"folder:{tmp_path}", "limit": None}), {}
    first = load_data(config, loaded=kept).fingerprint
    assert load_data(config, loaded=kept).fingerprint == first
    write(300)
    assert load_data(config, loaded=kept).fingerprint != first
