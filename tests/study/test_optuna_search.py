"""The proposals: a function of the seed and the trials before, that finds an optimum."""

from __future__ import annotations

import pytest

from tutelage.config.schema import check
from tutelage.study.optuna_search import OptunaSearch, TuningTrial
from tutelage.study.search_space import SearchSpace

SEARCH = {"lr": [0.001, 1.0, "log"], "optimizer": ["sgd", "adamw"], "batch_size": [8, 64]}


def engine(seed=0, higher=True):
    return OptunaSearch(SearchSpace.parse(SEARCH, check({"data": "digits", "lr": 0.1})), seed, higher)


def searched(made, count, value):
    trials = []
    for number in range(count):
        point = made.propose(trials)
        trials.append(TuningTrial(number, point, "done", value(point), [value(point)] * 6))
    return trials


def distance(point):
    from math import log10

    return abs(log10(point["lr"]) + 2) + (point["optimizer"] == "adamw")


def test_the_first_trial_has_the_own_values():
    assert engine().propose([])["lr"] == 0.1
    assert engine().propose([])["batch_size"] == 64


def test_points_are_a_function_of_the_seed_and_the_trials_before():
    trials = searched(engine(), 14, lambda point: -distance(point))
    for count in (0, 1, 7, 13):  # from any place on, as after a kill
        assert engine().propose(trials[:count]) == trials[count].point
    assert engine(seed=1).propose(trials[:3]) != trials[3].point


@pytest.mark.parametrize("higher", [True, False])
def test_it_finds_the_optimum_in_either_direction(higher):
    sign = -1 if higher else 1
    trials = searched(engine(higher=higher), 40, lambda point: sign * distance(point))
    best = min(trials, key=lambda trial: distance(trial.point))
    late = [distance(trial.point) for trial in trials[25:]]
    assert distance(best.point) < 0.15
    assert sum(late) / len(late) < 0.6  # at random it is 1.25


def test_it_keeps_away_from_the_points_of_trials_that_run():
    trials = searched(engine(), 14, lambda point: -distance(point))
    alone = engine().propose(trials)
    others = [engine().propose([*trials, *more]) for more in ([], [TuningTrial(14, alone, "failed")])]
    assert others[0] == alone
    assert engine().propose(trials, [alone]) not in others
    assert engine().propose([], [alone]) == engine().propose([TuningTrial(0, alone, "failed")])  # both at random


def test_points_are_in_the_space():
    for trial in searched(engine(), 12, lambda point: 0.5):
        assert 0.001 <= trial.point["lr"] <= 1
        assert trial.point["optimizer"] in ("sgd", "adamw")
        assert isinstance(trial.point["batch_size"], int)


def test_failed_and_stopped_trials_are_no_obstacle():
    point = {"lr": 0.1, "optimizer": "sgd", "batch_size": 32}
    trials = [TuningTrial(0, point, "failed", reason="NaN"), TuningTrial(1, point, "stopped", curve=[0.1, 0.2])]
    assert engine().propose(trials).keys() == SEARCH.keys()


def test_importances():
    trials = searched(engine(), 20, lambda point: -distance(point))
    parts = engine().importances(trials)
    assert parts.keys() == SEARCH.keys()
    assert sum(parts.values()) == pytest.approx(1)
    assert list(parts)[-1] == "batch_size"  # which has no effect
    assert engine().importances(trials) == parts
    assert engine().importances(trials[:3]) == {}
