"""Searches with two trials at once: the same choice in processes and on Ray, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tutelage
from tutelage.errors import ConfigError, TutelageError
from tutelage.study.engines.base import BegunJobs, Ended, Engine, Job, ListedJobs
from tutelage.training.callbacks import Callback

KEYS: dict[str, Any] = {
    "student": "cnn2", "teacher": "none", "method": None, "data": "digits", "limit": 64, "epochs": 3, "batch_size": 32,
    "device": "cpu", "search": {"lr": [0.01, 0.3, "log"]}, "trials": 4, "processes": 2, "checkpoint_every": 0,
    "out": "tuned",
}  # fmt: skip
FILES = ("trials.json", "choice.json", "tuning.json", "config.yaml", "tuning.html")


def numbers(folder: Path) -> set[int]:
    file = folder / "trials.json"
    return {trial["number"] for trial in json.loads(file.read_text())} if file.exists() else set()


def kill_a_training(root: Path) -> None:
    """Kill the first of Ray's workers that trains below a folder."""
    while not (found := [process for process in Path("/proc").glob("[0-9]*") if trains(process, root)]):
        time.sleep(0.02)
    os.kill(int(found[0].name), signal.SIGKILL)


def trains(process: Path, root: Path) -> bool:
    try:
        return b".train" in (process / "cmdline").read_bytes() and (process / "cwd").readlink() == root
    except OSError:  # it has ended
        return False


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search in processes that ran through."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        tutelage.tune(**KEYS)
    return root / "tuned"


def test_the_first_two_are_chosen_without_results(whole: Path) -> None:
    choice = json.loads((whole / "choice.json").read_text())
    assert [trial["state"] for trial in choice["trials"]] == ["done"] * 4
    assert choice["trials"][0]["point"] == {"lr": 0.1}
    assert choice["value"] == max(trial["value"] for trial in choice["trials"])
    for number in range(4):
        assert json.loads((whole / f"trials/{number:03}/result.json").read_text())["judged_on"] == "val"
    assert json.loads((whole / "tuned/result.json").read_text())["judged_on"] == "test"


def test_a_killed_search_goes_on_on_ray_though_a_worker_is_killed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("tuned")
    driver = subprocess.Popen([sys.executable, "-c", f"import tutelage; tutelage.tune(**{KEYS!r})"])
    while not numbers(folder):
        assert driver.poll() is None
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = numbers(folder)
    written = {number: (folder / f"trials/{number:03}/result.json").stat().st_mtime_ns for number in before}
    assert len(before) < 4
    killer = threading.Thread(target=kill_a_training, args=[tmp_path], daemon=True)
    killer.start()
    tutelage.tune(**KEYS, engine="ray")
    killer.join(timeout=1)
    assert not killer.is_alive(), "a worker was killed"
    for name in FILES:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    for number, when in written.items():
        assert (folder / f"trials/{number:03}/result.json").stat().st_mtime_ns == when, "it was read, not repeated"
    assert not (folder / "logs" / "ray").exists()


def test_other_processes_are_another_search(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole.parent)
    with pytest.raises(ConfigError, match="begun with processes=2, now it is 1"):
        tutelage.tune(**KEYS | {"processes": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"callbacks": [Callback()]},
            "callbacks is an object.*processes=2",
        ),
        ({"engine": "rai"}, "unknown engine 'rai'"),
        ({"processes": 0}, "processes=0"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        tutelage.tune(**KEYS | {"out": tmp_path / "tuned"} | changes)
    assert not (tmp_path / "tuned").exists()


class Losing(Engine):
    """Loses the jobs with these names as often as it says, and has one place."""

    def __init__(self, **times: int) -> None:
        self.places, self.times, self.started = 1, times, list[str]()

    def start(self, job: Job) -> None:
        self.started.append(job.trial)

    def ended(self, wait: float) -> list[Ended]:
        name = self.started[-1]
        self.times[name] = self.times.get(name, 0) - 1
        return [Ended(name, "done") if self.times[name] < 0 else Ended(name, "lost", "its process died")]

    def close(self) -> None: ...


def test_a_job_is_begun_three_times_if_its_process_dies() -> None:
    jobs = [Job(name, {}, name) for name in ("a", "b", "c")]
    engine = Losing(a=1, b=2)
    engine.run(ListedJobs(jobs))
    assert engine.started == ["a", "a", "b", "b", "b", "c"]
    with pytest.raises(TutelageError, match="a: its process died, 3 times"):
        Losing(a=3).run(ListedJobs(jobs))


def test_what_runs_is_known() -> None:
    begun = BegunJobs(ListedJobs([Job("a", {}, "a")]))
    assert begun.next() is not None
    assert begun.next() is None
    assert begun.running.keys() == {"a"}
    begun.end(Ended("a", "done"))
    assert not begun.running
