"""Engines: several jobs at once, each in a process of its own that may die without harm to the others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import ConfigError
from tutelage.study import engines
from tutelage.study.engines.base import Ended, Engine, Job
from tutelage.study.engines.processes import Processes

TINY: dict[str, Any] = {
    "student": "cnn2", "teacher": "none", "method": None, "data": "digits", "limit": 64, "device": "cpu", "epochs": 1,
    "baseline": False,
}  # fmt: skip


def job(folder: Path, name: str, **keys: Any) -> Job:
    return Job(name, TINY | keys, str(folder / name))


def wait(engine: Engine, count: int) -> dict[str, Ended]:
    ended: dict[str, Ended] = {}
    while len(ended) < count:
        ended |= {one.trial: one for one in engine.ended(60.0)}
    return ended


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    made = Processes(2, 1, tmp_path_factory.mktemp("logs"))
    yield made
    made.close()


def test_jobs_end_done_or_failed_with_their_reason(engine: Engine, tmp_path: Path) -> None:
    engine.start(job(tmp_path, "good"))
    engine.start(job(tmp_path, "bad", student="cnnn2"))
    ended = wait(engine, 2)
    assert (ended["good"].state, ended["bad"].state) == ("done", "failed")
    assert "cnnn2" in ended["bad"].reason
    assert ended["good"].seconds > 0
    assert (tmp_path / "good" / "result.json").exists()


def test_a_job_pauses_after_an_epoch_and_goes_on_as_if_it_hadnt(engine: Engine, tmp_path: Path) -> None:
    paused = job(tmp_path, "paused", epochs=4)
    engine.start(Job(paused.trial, paused.keys, paused.folder, pause=2))
    engine.start(job(tmp_path, "straight", epochs=4))
    ended = wait(engine, 2)
    assert (ended["paused"].state, ended["straight"].state) == ("paused", "done")
    assert not (tmp_path / "paused" / "result.json").exists()
    engine.start(paused)
    assert wait(engine, 1)["paused"].state == "done"
    one, two = ((tmp_path / name / "student.safetensors").read_bytes() for name in ("paused", "straight"))
    assert one == two


def test_a_process_that_is_killed_loses_its_job_alone(engine: Processes, tmp_path: Path) -> None:
    engine.start(job(tmp_path, "killed", epochs=5000))
    engine.start(job(tmp_path, "other"))
    while not (tmp_path / "killed" / "student-0" / "metrics.jsonl").exists():
        time.sleep(0.05)
    victim = engine.workers[0]
    assert victim is not None
    os.kill(victim.process.pid, signal.SIGKILL)
    ended = wait(engine, 2)
    assert ended["other"].state == "done"
    assert ended["killed"].state == "lost"
    assert ended["killed"].reason == "its process died of SIGKILL, perhaps for want of memory"
    engine.start(job(tmp_path, "again"))
    assert wait(engine, 1)["again"].state == "done"


def test_a_worker_ends_with_what_started_it(engine: Processes, tmp_path: Path) -> None:
    engine.start(job(tmp_path, "long", epochs=5000))
    while not (tmp_path / "long" / "student-0" / "metrics.jsonl").exists():
        time.sleep(0.05)
    worker = engine.workers[0]
    assert worker is not None
    engine.close()
    assert worker.process.returncode == -signal.SIGKILL


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown engine 'rai'"):
        engines.find("rai")
