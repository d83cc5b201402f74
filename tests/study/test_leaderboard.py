"""The leaderboard pairs by seed, corrects for its comparisons, and is the same for the same results."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from tutelage.errors import ConfigError
from tutelage.study import exports, model_card, page, tables
from tutelage.study.leaderboard import build
from tutelage.study.sample_noise import Scores, noise_of, read_scores
from tutelage.study.statistics import mcnemar
from tutelage.tasks.classification import Classification
from tutelage.tasks.regression import Regression
from tutelage.tasks.sample_scores import SampleScores
from tutelage.utils.intervals import confidence_interval


def row_of(board, method, student="cnn2"):
    return next(row for row in board.rows if (row.method, row.student) == (method, student))


def test_rows_have_their_gains_and_verdicts(trials):
    board = build(trials({"kd": 0.03, "dkd": 0.06, "at": -0.05, "fitnet": 0.0}))
    assert [row.method for row in board.rows if row.role != "teacher"] == ["alone", "dkd", "kd", "fitnet", "at"]
    words = {row.method: [row.verdict("alone"), row.verdict("kd")] for row in board.rows if row.role == "method"}
    assert words == {
        "dkd": ["beats", "beats"],
        "kd": ["beats", ""],
        "fitnet": ["undecided", "worse"],
        "at": ["worse", "worse"],
    }
    assert board.comparisons == 7
    gain, dkd, alone = row_of(board, "dkd").gains["alone"], row_of(board, "dkd"), row_of(board, "alone")
    assert gain.values == {seed: dkd.values[seed] - alone.values[seed] for seed in range(5)}
    assert gain.mean == pytest.approx(dkd.mean - alone.mean)
    assert gain.interval == pytest.approx(confidence_interval(list(gain.values.values())))
    assert gain.p < gain.corrected_p < 0.05
    assert gain.seeds_to_decide is None
    assert row_of(board, "fitnet").gains["alone"].seeds_to_decide > 5
    assert alone.gains == {}


def test_the_order_of_the_trials_is_without_effect(trials):
    listed = trials({"kd": 0.03, "dkd": 0.06, "at": None}, students=["cnn2", "cnn4"])
    shuffled = listed.copy()
    random.Random(1).shuffle(shuffled)
    assert build(listed) == build(shuffled)


def test_one_comparison_more_is_a_correction_more(trials):
    few, many = (build(trials({"kd": 0.03, **{f"m{i}": 0.0 for i in range(n)}})) for n in (0, 10))
    assert (few.comparisons, many.comparisons) == (1, 21)
    assert row_of(few, "kd").gains["alone"].p == row_of(few, "kd").gains["alone"].corrected_p
    assert row_of(many, "kd").gains["alone"].corrected_p > 10 * row_of(many, "kd").gains["alone"].p


def test_rows_are_paired_by_the_seeds_that_both_have(trials):
    listed = [t for t in trials({"kd": 0.03}) if (t["method"], t["seed"]) not in {("kd", 1), ("alone", 3)}]
    gain = row_of(build(listed), "kd").gains["alone"]
    assert list(gain.values) == [0, 2, 4]
    assert gain.mean == pytest.approx(0.03, abs=0.01)


def test_one_seed_decides_nothing(trials):
    gain = row_of(build(trials({"kd": 0.3}, seeds=1)), "kd").gains["alone"]
    assert (gain.verdict, gain.p, gain.interval, gain.seeds_to_decide) == ("undecided", None, None, None)


def test_equal_results_are_undecided(trials):
    gain = row_of(build(trials({"kd": 0.0}, noise=0.0)), "kd").gains["alone"]
    assert (gain.mean, gain.verdict, gain.p) == (0, "undecided", None)


def test_one_right_answer_more_in_each_seed_is_undecided(trials):
    """Metrics are of single precision: their differences differ by errors of rounding."""
    listed = trials({"kd": 0.0}, seeds=3)
    for each in listed:
        right = 178 + 17 * each["seed"] + (each["method"] == "kd")
        each["result"]["student"]["accuracy"] = float(np.float32(right / 500))
    gain = row_of(build(listed), "kd").gains["alone"]
    assert (gain.verdict, gain.p, gain.spread) == ("undecided", None, 0)
    assert gain.mean == pytest.approx(0.002, rel=1e-4)


def test_less_is_better_for_errors(trials):
    board = build(trials({"kd": -0.1, "dkd": 0.1}, metric="rmse", higher_is_better=False))
    assert [row.method for row in board.rows if row.role == "method"] == ["kd", "dkd"]
    assert [row.verdict("alone") for row in board.rows if row.role == "method"] == ["beats", "worse"]
    assert board.choice("cnn2").method == "kd"
    assert not board.is_fraction


def test_failed_and_stopped_trials_have_their_reasons(trials, trial):
    listed = [*trials({"kd": 0.03, "at": None}, seeds=2), trial("method", "cnn2", "rkd", 0, None, state="stopped")]
    board = build(listed)
    row = row_of(board, "at")
    assert row.mean is None
    assert [(u.seed, u.state, u.reason) for u in row.unfinished] == [(s, "failed", "the loss is NaN") for s in (0, 1)]
    assert row_of(board, "rkd").unfinished[0].state == "stopped"
    assert [r.method for r in board.rows][-2:] == ["at", "rkd"]


def test_a_result_without_the_metric_is_named(trials):
    listed = trials({"kd": 0.03}, seeds=1)
    listed[1]["result"]["student"] = {"parameters": 1, "macs": None}
    assert row_of(build(listed), "kd").unfinished[0].reason == "its result has no accuracy"


def test_kd_is_that_of_the_same_teacher(trials, trial):
    listed = trials({"kd": 0.0}, seeds=3)
    for seed in range(3):
        listed.append(trial("method", "cnn2", "kd", seed, 0.9 + 0.01 * seed, teacher="cnn32"))
        listed.append(trial("method", "cnn2", "dkd", seed, 0.91 + 0.02 * seed, teacher="cnn32"))
        listed.append(trial("method", "cnn2", "dml", seed, 0.8, teacher=""))
        listed.append(trial("method", "cnn2", "aekd", seed, 0.9, teacher="cnn16 ×3"))
    board = build(listed)
    gains = {(r.method, r.teacher): r.gains["kd"].teacher for r in board.rows if "kd" in r.gains}
    assert gains == {("dkd", "cnn32"): "cnn32", ("aekd", "cnn16 ×3"): "cnn16", ("dml", ""): "cnn32"}
    assert "KD beside dml is by cnn32, the best." in exports.describe(board)
    errors = [t | {"result": t["result"] and t["result"] | {"higher_is_better": False}} for t in listed]
    assert row_of(build(errors), "dml").gains["kd"].teacher == "cnn16"
    failed = [t | {"result": None, "state": "failed"} if t["teacher"] == "cnn32" else t for t in listed]
    assert row_of(build(failed), "dml").gains["kd"].teacher == "cnn16"
    assert "KD beside" not in exports.describe(build(failed))


def test_teachers_come_first_trained_or_given(trials, trial):
    listed = [*trials({"kd": 0.03}), trial("teacher", "cnn32", "", 0, 0.97, teacher="")]
    rows = [row for row in build(listed).rows if row.role == "teacher"]
    assert [(row.teacher, row.mean) for row in rows] == [("cnn32", 0.97), ("cnn16", 0.95)]


def test_the_choice_is_the_best_that_beats_alone(trials):
    board = build(trials({"kd": 0.03, "dkd": 0.06, "lucky": None}))
    assert board.choice("cnn2").method == "dkd"
    assert build(trials({"kd": 0.0, "at": -0.05})).choice("cnn2").method == "alone"
    assert board.choice("nobody") is None


def test_seeds_that_are_missing_dont_change_the_choice(trial):
    """A method that failed in the poor seeds has the higher mean, and the smaller gain."""
    alone = dict(enumerate([0.2, 0.3, 0.4, 0.8, 0.9]))
    listed = [trial("alone", "cnn2", "alone", seed, value) for seed, value in alone.items()]
    for seed, value in alone.items():
        listed.append(trial("method", "cnn2", "kd", seed, value + 0.05 + 0.001 * seed))
        listed.append(trial("method", "cnn2", "dkd", seed, None if seed < 2 else value + 0.01 + 0.0002 * seed))
    board = build(listed)
    kd, dkd = row_of(board, "kd"), row_of(board, "dkd")
    assert (kd.verdict("alone"), dkd.verdict("alone")) == ("beats", "beats")
    assert kd.mean < dkd.mean
    assert board.choice("cnn2") == kd
    assert board.rows.index(kd) < board.rows.index(dkd)


def test_two_metrics_are_refused(trials):
    listed = trials({"kd": 0.03}, seeds=1) + trials({"kd": 0.03}, seeds=1, metric="rmse")
    with pytest.raises(ConfigError, match=r"accuracy and rmse.*metric=…"):
        build(listed)


def test_no_trial_at_all():
    assert build([]).rows == []


def test_costs_are_those_of_the_trainings(trials):
    cost = row_of(build(trials({"kd": 0.03}, seeds=3)), "kd").cost
    assert (cost.total_seconds, cost.seconds, cost.step_ms) == (9.0, 3.0, 4.0)


# the noise of the test set


def scores(right, index=None):
    return Scores(np.arange(len(right)) if index is None else index, SampleScores(np.asarray(right)))


def test_noise_is_over_the_samples_that_all_predicted():
    right, reference = np.array([True] * 8 + [False] * 4), np.array([False] * 6 + [True] * 6)
    noise = noise_of({0: scores(right[1:], np.arange(1, 12)), 3: scores(right)}, {0: scores(reference)})
    assert noise.samples == 11
    assert noise.mcnemar == {0: mcnemar(right[1:], reference[1:])}
    low, high = noise.interval
    assert low < (right[1:].mean() - reference[1:].mean()) < high
    assert noise_of({0: scores(right)}, {1: scores(reference)}) is None
    assert noise_of({}, {}) is None


def test_tasks_know_the_scores_of_samples():
    probabilities = np.eye(3)[[0, 1, 2, 1]]
    of = Classification.sample_scores("accuracy", {"probabilities": probabilities, "targets": np.array([0, 1, 1, 1])})
    assert of.values.tolist() == [True, True, False, True]
    assert of.metric == 0.75
    assert Classification.sample_scores("macro_f1", {}) is None
    arrays = {"estimates": np.array([[1.0], [2.0]]), "targets": np.array([[1.0], [4.0]])}
    assert Regression.sample_scores("rmse", arrays).metric == pytest.approx(2**0.5)
    assert Regression.sample_scores("mae", arrays).metric == 1
    assert Regression.sample_scores("r2", arrays) is None
    assert Regression.sample_scores("mae", {name: x.repeat(2, 1) for name, x in arrays.items()}) is None


# a trained study


def test_a_trained_study(trained):
    root, listed = trained
    board = build(listed, root=root)
    assert board.students == ["cnn2", "cnn3"]
    assert board.notes == []
    row = row_of(board, "dkd", "cnn3")
    assert row.mean == fmean(t["result"]["student"]["accuracy"] for t in listed if t["folder"].startswith("cnn3-dkd"))
    for name in ("alone", "kd"):
        noise = row.gains[name].noise
        assert noise.samples == 359
        assert set(noise.mcnemar) == {0, 1, 2}
        assert noise.interval[0] <= row.gains[name].mean <= noise.interval[1]
    assert "no_such_loss" in row_of(board, "kd+no_such_loss").unfinished[0].reason
    assert build(listed, root=root) == board


def test_scores_that_arent_the_metrics_are_left_out(trained):
    root, listed = trained
    trial = next(t for t in listed if t["method"] == "kd")
    assert read_scores(root / trial["folder"], trial["result"]) is not None
    wrong = trial["result"] | {"student": trial["result"]["student"] | {"accuracy": 0.5}}
    assert read_scores(root / trial["folder"], wrong) is None
    assert read_scores(root / trial["folder"], trial["result"] | {"task": "of_another_package"}) is None
    assert read_scores(root / "none", trial["result"]) is None


def test_torn_predictions_are_noted(trained, tmp_path):
    root, listed = trained
    shutil.copytree(root, tmp_path / "study")
    trial = next(t for t in listed if t["method"] == "kd")
    file = tmp_path / "study" / trial["folder"] / "student-0" / "predictions.npz"
    file.write_bytes(file.read_bytes()[:100])
    board = build(listed, root=tmp_path / "study")
    assert len(board.notes) == 1
    assert "predictions.npz" in board.notes[0]
    whole = build(listed, root=root)
    assert replace(board, notes=[], rows=[]) == replace(whole, rows=[])


@pytest.mark.parametrize(
    ("figure", "reason"), [(float("nan"), "nan"), (float("inf"), "inf"), (None, "has no accuracy")]
)
def test_a_figure_that_is_no_number_is_a_training_without_a_result(trials, tmp_path, figure, reason):
    listed = trials({"kd": 0.03, "dkd": 0.02})
    for trial in listed:
        if (trial["method"], trial["seed"]) == ("dkd", 2):
            trial["result"]["student"]["accuracy"] = figure
        trial["result"]["teacher"]["accuracy"] = float("nan")
    board = build(listed)
    dkd = row_of(board, "dkd")
    assert [*dkd.values] == [0, 1, 3, 4]
    assert [(x.seed, reason in x.reason) for x in dkd.unfinished] == [(2, True)]
    assert not [row for row in board.rows if row.role == "teacher"], "a teacher that isn't judged has no row"
    assert exports.write(board, tmp_path)


def test_a_study_that_is_judged_on_validation_is_labelled_so(trials, tmp_path):
    listed = trials({"kd": 0.05})
    for trial in filter(lambda t: t["result"], listed):
        trial["result"]["data"] = {"name": "digits", "train": 1078, "val": 360, "classes": ["0", "1"]}
    board = build(listed, study="s")
    assert (board.judged_on, board.data["classes"]) == ("validation", 2)
    assert "digits (1078 train, 360 val samples). Judged on validation samples." in exports.describe(board)
    exports.write(board, tmp_path)
    page.write(board, tmp_path)
    card = model_card.write(board, tmp_path, "cnn2").read_text("utf-8")
    assert "- validation accuracy, %: " in card
    assert "its 360 validation samples" in card
    assert "| validation accuracy, % |" in (tmp_path / "leaderboard.md").read_text("utf-8")
    assert "on other validation samples" in tables.evidence(board, tmp_path).blocks[0].head
