"""Successive halving: as few rungs as a budget allows, and the better half by validation goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.study import halving
from tutelage.study.store import Store
from tutelage.study.trial import StudyTrial


def test_the_cost_of_rungs() -> None:
    assert halving.cost([], 16, 8) == 128
    assert halving.cost([8], 16, 8) == 8 * 8 + 4 * 8
    assert halving.cost([4, 8], 16, 8) == 8 * 4 + 4 * 4 + 2 * 8
    assert halving.cost([1, 2, 4, 8], 16, 3) == 3 * 1 + 2 * 1 + 1 * 2 + 1 * 4 + 1 * 8


@pytest.mark.parametrize(
    ("budget", "rungs"), [(1000, []), (128 * 3, []), (128 * 3 - 1, [8]), (64 * 3, [4, 8]), (5, [1, 2, 4, 8])]
)
def test_as_few_rungs_as_the_budget_allows(budget: float, rungs: list[int]) -> None:
    assert halving.rungs_for(budget, epochs=16, methods=8, trials=3) == rungs


def test_short_trainings_and_single_methods_have_no_rungs() -> None:
    assert halving.rungs_for(0, epochs=1, methods=8, trials=3) == []
    assert halving.rungs_for(0, epochs=16, methods=1, trials=3) == []


def write(store: Store, trial: StudyTrial, values: list[float]) -> None:
    folder = store.folder / trial.folder / "student-0"
    folder.mkdir(parents=True)
    rows = [{"kind": "epoch", "epoch": epoch, "val": {"accuracy": value}} for epoch, value in enumerate(values, 1)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))


def study(folder: Path, after_two: dict[str, list[float]]) -> Store:
    store = Store(folder)
    for seed in range(2):
        alone = StudyTrial("alone", "cnn2", "", "alone", seed, {"seed": seed})
        kd = StudyTrial("method", "cnn2", "t", "kd", seed, {"seed": seed, "method": "kd"})
        store.add([alone, kd])
        write(store, alone, [0.1, 0.4 + 0.1 * seed, 0.5])
        store.end(alone.id, "done", result={})
        store.end(kd.id, "done", result={})
        for method, values in after_two.items():
            trial = StudyTrial("method", "cnn2", "t", method, seed, {"seed": seed, "method": method})
            store.add([trial])
            write(store, trial, [0.0, values[seed]])
            store.pause(trial.id, 2, 1.0)
    return store


def test_further_seeds_of_a_stopped_method_stop_with_it(tmp_path: Path) -> None:
    store = study(tmp_path, {"a": [0.4, 0.5], "b": [0.6, 0.6]})
    halving.decide(store, 8, "accuracy", True)
    store.add(StudyTrial("method", "cnn2", "t", method, 2, {"seed": 2, "method": method}) for method in "ab")
    halving.stop_like_the_others(store)
    states = {(t.trial.method, t.trial.seed): (t.state, t.reason) for t in store.trials().values()}
    assert states["a", 2] == states["a", 0]
    assert states["a", 2][0] == "stopped"
    assert states["b", 2] == ("waiting", "")


@pytest.mark.parametrize(("higher", "expected"), [(True, {"b", "c"}), (False, {"a", "d"})])
def test_the_better_half_by_validation_goes_on(tmp_path: Path, higher: bool, expected: set[str]) -> None:
    store = study(tmp_path, {"a": [0.4, 0.5], "b": [0.6, 0.6], "c": [0.5, 0.7], "d": [0.1, 0.3]})
    halving.decide(store, 4, "accuracy", higher)
    trials = store.trials().values()
    assert {stored.trial.method for stored in trials if stored.state == "waiting"} == expected
    stopped = [stored for stored in trials if stored.state == "stopped"]
    assert {stored.trial.method for stored in stopped} == {*"abcd"} - expected
    assert all(stored.reason.startswith("stopped after epoch 2 of 4: place") for stored in stopped)
    assert {stored.state for stored in trials if stored.trial.method in ("kd", "alone")} == {"done"}


def test_it_waits_for_all_and_counts_failures_out(tmp_path: Path) -> None:
    store = study(tmp_path, {"a": [0.4, 0.5], "b": [0.6, 0.6], "c": [0.1, 0.1]})
    late = next(name for name, stored in store.trials().items() if stored.trial.method == "c")
    store.go_on([late])
    halving.decide(store, 4, "accuracy", True)
    assert not [stored for stored in store.trials().values() if stored.state == "stopped"]
    for name, stored in store.trials().items():
        if stored.trial.method == "c":
            store.end(name, "failed", "diverged")
    halving.decide(store, 4, "accuracy", True)
    states = {stored.trial.method: stored.state for stored in store.trials().values() if stored.trial.method in "abc"}
    assert states == {"a": "stopped", "b": "waiting", "c": "failed"}


@pytest.mark.parametrize(("second", "goes_on"), [(0.9, "waiting"), (0.0, "stopped")])
def test_a_seed_that_is_added_later_is_judged_at_its_rung(tmp_path: Path, second: float, goes_on: str) -> None:
    store = study(tmp_path, {"a": [0.5, second], "b": [0.55, 0.55]})
    ahead, late, *_ = (name for name, stored in store.trials().items() if stored.trial.method == "a")
    store.connection.execute("UPDATE trials SET epoch = 3 WHERE id = ?", (ahead,))
    halving.decide(store, 4, "accuracy", True)
    trials = store.trials()
    assert trials[late].state == goes_on
    assert trials[ahead].state == ("paused" if goes_on == "waiting" else "stopped"), "it waits at its own rung"


def test_a_figure_that_is_nan_is_last(tmp_path: Path) -> None:
    store = study(tmp_path, {"a": [float("nan")] * 2, "b": [0.1, 0.1]})
    halving.decide(store, 4, "accuracy", True)
    states = {stored.trial.method: stored.state for stored in store.trials().values()}
    assert (states["a"], states["b"]) == ("stopped", "waiting")


def test_a_run_that_has_ended_early_is_judged_by_its_last_figure(tmp_path: Path) -> None:
    store = study(tmp_path, {"a": [0.4, 0.5]})
    folder = next(tmp_path / x.folder for x in store.trials().values() if x.trial.method == "alone")
    assert [halving.validation(folder, "accuracy", epoch) for epoch in (1, 2, 9)] == [0.1, 0.4, 0.5]
    assert halving.validation(folder, "loss", 9) != halving.validation(folder, "loss", 9), "NaN"
