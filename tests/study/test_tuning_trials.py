"""The trials of a search, several at once: the same points in whatever order they end, and wherever it was stopped."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from tutelage.config.schema import check
from tutelage.study.engines.base import BegunJobs, Ended, Job
from tutelage.study.optuna_search import OptunaSearch
from tutelage.study.search_space import SearchSpace
from tutelage.study.stopping import MedianRule
from tutelage.study.tuning_trials import TuningTrials
from tutelage.utils import checksums

SPACE = SearchSpace.parse({"lr": [0.001, 1.0, "log"]}, check({"data": "digits", "lr": 0.1}))
COUNT = 16


def jobs_in(folder, places=3, trials=(), watch=bool, prune=True):
    shared = Job("trials", {"judged_on": "val"}, str(folder))
    rule = MedianRule("accuracy", True, 6)
    return TuningTrials(OptunaSearch(SPACE, 0, True), COUNT, places, shared, rule, prune, trials, watch)


def train(job):
    """Write what a run would: a figure that the learning rate decides."""
    value = 1 - abs(job.keys["lr"] - 0.03)
    (Path(job.folder) / "student-0").mkdir(parents=True)
    line = {"kind": "epoch", "epoch": 1, "val": {"accuracy": value}}
    (Path(job.folder) / "student-0" / "metrics.jsonl").write_text(json.dumps(line))
    checksums.write_recorded(Path(job.folder) / "result.json", json.dumps({"student": {"accuracy": value}}))
    return Ended(job.trial, "failed", "the loss is NaN") if job.trial == "4" else Ended(job.trial, "done")


def searched(folder, places, chance, trials=(), until=COUNT):
    """Run the jobs, of which one by chance ends next; return the trials as they ended."""
    ended = [*trials]
    begun = BegunJobs(jobs_in(folder, places, trials, ended.append))
    while len(ended) < until:
        while len(begun.running) < places and begun.next():
            pass
        begun.end(train(chance.choice([*begun.running.values()])))
    return ended


@pytest.mark.parametrize("places", [1, 3])
def test_points_are_the_same_in_whatever_order_trials_end(places, tmp_path):
    runs = [searched(tmp_path / str(n), places, random.Random(n)) for n in range(3)]
    orders = [[trial.number for trial in run] for run in runs]
    assert (orders[1] != orders[2]) == (places > 1)
    tables = [{trial.number: trial for trial in run} for run in runs]
    assert tables[0] == tables[1] == tables[2]
    assert (tables[0][4].state, tables[0][4].reason, tables[0][4].value) == ("failed", "the loss is NaN", None)
    assert len({trial.point["lr"] for trial in runs[0]}) == COUNT


def test_after_a_kill_the_rest_is_the_same(tmp_path):
    whole = {trial.number: trial for trial in searched(tmp_path / "whole", 3, random.Random(0))}
    for until in range(1, 9):
        before = searched(tmp_path / f"{until}", 3, random.Random(until), until=until)
        after = searched(tmp_path / f"{until} again", 3, random.Random(0), before)
        assert {trial.number: trial for trial in after} == whole, until


def test_a_trial_waits_for_those_whose_results_it_needs(tmp_path):
    jobs = jobs_in(tmp_path, places=3)
    first, second, third = (jobs.next() for _ in range(3))
    assert jobs.next() is None
    jobs.end(train(second))
    assert jobs.next() is None  # trial 3 needs the result of trial 0
    jobs.end(train(first))
    assert jobs.next().trial == "3"
    assert jobs.next().trial == "4"
    assert jobs.next() is None
    assert third.folder == str(tmp_path / "002")
    assert third.keys["judged_on"] == "val"


def test_the_rule_has_the_curves_of_the_trials_that_are_known(tmp_path):
    jobs = jobs_in(tmp_path, places=2)
    first, second = jobs.next(), jobs.next()
    jobs.end(train(second))
    jobs.end(train(first))
    third, fourth = jobs.next(), jobs.next()
    assert [len(job.stop["curves"]) for job in (first, second, third, fourth)] == [0, 0, 1, 2]
    assert third.stop["curves"] == [jobs.ended[0].curve]
    assert jobs_in(tmp_path, prune=False).next().stop is None


@pytest.mark.parametrize("figure", [math.nan, math.inf])
def test_a_trial_whose_figure_is_no_number_fails_and_the_search_goes_on(tmp_path, figure):
    jobs = jobs_in(tmp_path, places=1)
    job = jobs.next()
    ended = train(job)
    checksums.write_recorded(Path(job.folder) / "result.json", json.dumps({"student": {"accuracy": figure}}))
    jobs.end(ended)
    assert (jobs.ended[0].state, jobs.ended[0].value) == ("failed", None)
    assert jobs.ended[0].reason == f"accuracy is {figure}"
    assert jobs.next().trial == "1"
