"""Whole studies: the same figures twice, killed, resumed, extended and on Ray; a failure is a row, and no more."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli import app
from tutelage.errors import ConfigError
from tutelage.study.conclusion import leaderboard_of
from tutelage.study.settings import separate
from tutelage.study.store import Store, StoredTrial
from tutelage.study.study import Study

TINY: dict[str, Any] = {
    "data": "digits", "limit": 96, "batch_size": 32, "epochs": 4, "teacher_epochs": 2, "device": "cpu", "seeds": 2,
    "students": ["cnn2"], "teachers": ["cnn4"], "processes": 2,
    "methods": ["at", {"name": "wrong layer", "method": [{"name": "fitnet", "student": "nowhere"}]}, "ps_kd"],
}  # fmt: skip

Table = dict[tuple[str, str, str, int], Any]


def run(folder: Path, **keys: Any) -> list[StoredTrial]:
    return Study(*separate(TINY | {"out": str(folder)} | keys)).run()


def table(trials: list[StoredTrial]) -> Table:
    return {
        (t.trial.role, t.trial.student, t.trial.method, t.trial.seed): t.state
        if t.result is None
        else t.result["student"]["values"]
        for t in trials
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table]:
    folder = tmp_path_factory.mktemp("study")
    return folder, table(run(folder))


def test_every_trial_ends_and_a_failure_is_a_row(finished: tuple[Path, Table]) -> None:
    folder, figures = finished
    trials = Store.open(folder).trials().values()
    assert len(trials) == 1 + 2 * 5
    wrong = [t for t in trials if t.trial.method == "wrong layer"]
    assert {t.state for t in trials if t not in wrong} == {"done"}
    assert all(t.state == "failed" and "nowhere" in t.reason for t in wrong)
    assert len({*map(str, figures.values())}) > 4, "seeds and methods differ"
    assert sorted(path.name for path in (folder / "caches").iterdir()), "kd and at share the teacher's outputs"
    assert len(list((folder / "caches").iterdir())) == 1


def test_a_finished_study_runs_nothing(finished: tuple[Path, Table]) -> None:
    folder, figures = finished
    again = Study(*separate(TINY | {"out": str(folder)}))
    assert again.added == 0
    assert table(again.run()) == figures


@pytest.mark.usefixtures("trials_in_this_process")
def test_a_new_method_and_a_new_seed_train_only_what_is_new(finished: tuple[Path, Table], tmp_path: Path) -> None:
    folder, figures = finished
    study = Study(*separate(TINY | {"out": str(folder), "methods": ["at", "sp"], "seeds": 2, "processes": 1}))
    assert study.added == 2
    extended = table(study.run())
    assert {key: value for key, value in extended.items() if key in figures} == figures
    assert {key[2] for key in extended.keys() - figures.keys()} == {"sp"}


@pytest.mark.parametrize(("key", "value"), [("epochs", 5), ("batch_size", 16), ("threads", 2), ("lr", 0.1)])
def test_other_keys_are_refused(finished: tuple[Path, Table], key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{key}="):
        Study(*separate(TINY | {"out": str(finished[0]), key: value}))


def test_killed_and_resumed_it_has_the_same_figures(finished: tuple[Path, Table], tmp_path: Path) -> None:
    keys = {key: value for key, value in TINY.items() if key != "methods"} | {"checkpoint_every": 0}
    words = [f"{key}={str(value).replace(chr(39), '')}" for key, value in keys.items()]
    words += ["processes=1", "methods=[at, {name: wrong layer, method: [{name: fitnet, student: nowhere}]}, ps_kd]"]
    pause = random.Random(0)
    for _ in range(2):
        before = ended(tmp_path / "study")
        process = get_context("fork").Process(target=app, args=[["compare", *words, f"out={tmp_path}/study"]])
        process.start()
        while process.is_alive() and ended(tmp_path / "study") < before + 2:
            time.sleep(0.05)
        time.sleep(pause.random())
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
    figures = table(run(tmp_path / "study", checkpoint_every=0, processes=1))
    assert figures == finished[1]


def ended(folder: Path) -> int:
    if not (folder / "study.db").exists():
        return 0
    return sum(trial.state in ("done", "failed") for trial in Store.open(folder).trials().values())


def test_two_programs_share_a_study(finished: tuple[Path, Table], tmp_path: Path) -> None:
    keys = TINY | {"out": str(tmp_path / "study"), "processes": 1}
    context = get_context("fork")
    is_there = context.Event()

    def join_it() -> None:
        is_there.wait()
        Study(*separate(keys)).run()

    other = context.Process(target=join_it)
    other.start()  # before this process opens the store, which can't be shared with a fork
    first = Study(*separate(keys))
    is_there.set()
    figures = table(first.run())
    other.join(timeout=120)
    assert other.exitcode == 0
    assert figures == finished[1]
    assert all(trial.attempts <= 1 for trial in first.store.trials().values()), "none was done twice"


def test_ray_has_the_same_figures_though_a_worker_is_killed(finished: tuple[Path, Table], tmp_path: Path) -> None:
    folder = tmp_path / "study"

    def kill_one() -> None:
        while ended(folder) < 2:
            time.sleep(0.05)
        while not (
            found := subprocess.run(
                ["pgrep", "-f", "ray::JobRunner.run"], capture_output=True, text=True, check=False
            ).stdout
        ):
            time.sleep(0.01)
        os.kill(int(found.split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    trials = run(folder, engine="ray")
    killer.join()
    assert table(trials) == finished[1]
    assert sorted(trial.attempts for trial in trials)[-2:] == [1, 2], "the lost one was begun again, and no other"


@pytest.mark.usefixtures("trials_in_this_process")
def test_the_leader_on_validation_gets_further_seeds(finished: tuple[Path, Table], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished[0], folder)
    trials = run(folder, leaders=1, leader_seeds=3)
    (leader,) = Store.open(folder).get("leaders=1 of 3")
    seeds = {m: {t.trial.seed for t in trials if t.trial.method == m} for m in ("alone", "kd", "at", "ps_kd")}
    other = {"at": "ps_kd", "ps_kd": "at"}[leader]
    assert seeds == {"alone": {0, 1, 2}, "kd": {0, 1, 2}, leader: {0, 1, 2}, other: {0, 1}}
    assert all(t.state == "done" for t in trials if t.trial.method in seeds)
    assert len(run(folder, leaders=1, leader_seeds=3)) == len(trials), "nothing is left to do"


@pytest.mark.usefixtures("trials_in_this_process")
def test_a_torn_result_is_a_failure_and_the_others_are_trained(tmp_path: Path) -> None:
    keys = {"out": str(tmp_path), "methods": ["cs_kd"], "teachers": [], "seeds": 2, "processes": 1}
    study = Study(*separate(TINY | keys))
    torn, *_ = study.store.trials().values()
    (tmp_path / torn.folder).mkdir(parents=True)
    (tmp_path / torn.folder / "result.json").write_text("{")
    ended = study.run()
    assert [stored.state for stored in ended] == ["failed", "done", "done", "done"]
    assert "result.json can't be read" in ended[0].reason


@pytest.mark.usefixtures("trials_in_this_process")
def test_a_budget_stops_methods_that_are_behind(tmp_path: Path) -> None:
    methods = [
        "at",
        "sp",
        {"name": "untaught", "method": "kd", "lr": 1e-9},
        {"name": "frozen", "method": "at", "lr": 1e-9},
    ]
    keys = {"methods": methods, "seeds": 1, "budget": "45steps"}
    trials = {t.trial.method: t for t in run(tmp_path / "study", **keys)}
    assert {name for name, t in trials.items() if t.state == "stopped"} >= {"untaught", "frozen"}
    assert {trials[name].state for name in ("alone", "kd")} == {"done"}
    assert trials["untaught"].reason.startswith("stopped after epoch")
    assert "validation accuracy" in trials["untaught"].reason
    with pytest.raises(ConfigError, match=r"budget=2h: the methods in .* are stopped by budget=45steps"):
        Study(*separate(TINY | keys | {"out": str(tmp_path / "study"), "budget": "2h"}))
    again = {t.trial.method: (t.state, t.reason) for t in run(tmp_path / "study", **keys)}
    assert again == {name: (t.state, t.reason) for name, t in trials.items()}
    grown = Study(*separate(TINY | keys | {"out": str(tmp_path / "study"), "seeds": 2})).store.trials().values()
    assert {(t.trial.seed, t.state) for t in grown if t.trial.method == "untaught"} == {(0, "stopped"), (1, "stopped")}
    assert ("alone", 1, "waiting") in {(t.trial.method, t.trial.seed, t.state) for t in grown}


@pytest.mark.usefixtures("trials_in_this_process")
def test_a_teacher_of_other_epochs_counts_with_its_own_steps(tmp_path: Path) -> None:
    run(tmp_path / "study", methods=["at", "sp"], seeds=1, teacher_epochs=12, budget="100steps")  # of 84
    store = Store.open(tmp_path / "study")
    assert (store.get("rungs"), store.get("budget_suffices")) == ([], True)


@pytest.mark.usefixtures("trials_in_this_process")
def test_a_budget_that_cant_be_kept_is_named(tmp_path: Path) -> None:
    for budget in ("1steps", "9000steps"):
        run(tmp_path / budget, methods=["at"], seeds=1, budget=budget)
    [note] = leaderboard_of(Store.open(tmp_path / "1steps")).notes
    assert "budget=1steps was too short" in note
    assert not leaderboard_of(Store.open(tmp_path / "9000steps")).notes
