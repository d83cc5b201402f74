"""The two answers follow the verdicts."""

from __future__ import annotations

import re

import pytest

from tutelage.study import answers
from tutelage.study.leaderboard import build


def test_it_helps(trials):
    board = build(trials({"kd": 0.03, "dkd": 0.06, "fitnet": 0.0, "at": -0.05}))
    answer = answers.does_it_help(board)
    assert (answer.tone, answer.headline) == ("beats", "Distillation helps")
    assert answer.sentence.startswith(
        "Yes. Of 4 methods, 2 beat the student trained alone, 1 is worse, 1 is undecided."
    )
    assert "The largest gain that is shown is that of dkd: +" in answer.sentence
    assert "5 seeds, p = " in answer.sentence
    assert "corrected for 7 comparisons" in answer.sentence
    (which,) = answers.which_method(board)
    assert which.startswith("cnn2: dkd, ")
    assert "and it beats KD too (+" in which


def test_the_largest_gain_is_one_that_is_shown(trials):
    """A larger mean that is undecided is not the answer."""
    noisy = trials({"kd": 0.0, "lucky": 0.1}, noise=0.2)
    listed = [t for t in trials({"kd": 0.03}) if t["method"] != "alone"]
    board = build([*listed, *[t for t in trials({"kd": 0.03}) if t["method"] == "alone"],
                   *[t for t in noisy if t["method"] == "lucky"]])  # fmt: skip
    lucky = next(row for row in board.rows if row.method == "lucky")
    assert lucky.gains["alone"].mean > 0.05
    assert lucky.verdict("alone") == "undecided"
    assert "is shown is that of kd: +" in answers.does_it_help(board).sentence


def test_some_students_are_helped(trials):
    helped = trials({"kd": 0.05})
    others = [t | {"student": "cnn4"} for t in trials({"kd": 0.0})]
    answer = answers.does_it_help(build([*helped, *others]))
    assert answer.headline == "Distillation helps 1 of 2 students"
    assert answer.sentence.startswith("Yes, for 1 of 2 students. Of 2 combinations, 1 beats")


def test_it_does_not_help(trials):
    answer = answers.does_it_help(build(trials({"kd": -0.03, "at": -0.05})))
    assert (answer.tone, answer.headline) == ("worse", "Distillation doesn't help")
    assert answer.sentence.startswith("No. Of 2 methods, none beats the student trained alone, 2 are worse.")


def test_a_method_that_may_help_leaves_it_undecided(trials):
    answer = answers.does_it_help(build(trials({"kd": -0.03, "at": 0.0})))
    assert (answer.tone, answer.headline) == ("undecided", "Undecided")
    assert answer.sentence.startswith(
        "Not known yet. Of 2 methods, none beats the student trained alone, 1 is worse, 1 is undecided"
    )


def test_it_is_undecided(trials):
    board = build(trials({"kd": 0.001, "at": 0.0}))
    answer = answers.does_it_help(board)
    assert answer.tone == "undecided"
    assert answer.sentence.startswith(
        "Not known yet. Of 2 methods, none beats the student trained alone, 2 are undecided"
    )
    assert "seeds would decide it" in answer.sentence
    which = answers.which_method(build(trials({"kd": 0.04, "at": -0.02}, noise=0.02)))[0]
    assert which.startswith("cnn2: none is shown to help, so train it alone (")
    assert re.search(r"; kd has the best mean \(\+\d\.\d\d points\), and about \d+ seeds would decide it\.$", which)


def test_one_seed_is_no_interval(trials):
    board = build(trials({"kd": 0.1}, seeds=1))
    answer = answers.does_it_help(board)
    assert answer.sentence.startswith("Not known yet. Of 1 method, none beats")
    assert "(1 seed)" in answer.sentence
    assert answers.warnings(board) == [
        "Only 1 seed: one gives no interval, and that of two is wide; seeds=5 decides more."
    ]


def test_nothing_is_compared(trials, trial):
    board = build(trials({"kd": None}))
    assert answers.does_it_help(board).tone == "none"
    assert answers.which_method(board)[0].startswith("cnn2: none is shown to help, so train it alone (")
    assert answers.which_method(build([trial("method", "cnn2", "kd", 0, None)])) == [
        "cnn2: none; its trainings have no result."
    ]


@pytest.mark.parametrize(
    ("gains", "text"),
    [
        ({"kd": 0.06, "dkd": 0.03}, ", and no method that helps has a better mean."),
        ({"kd": 0.059, "dkd": 0.06}, "; undecided against KD ("),
        ({"dkd": 0.06}, "over the student trained alone."),
    ],
)
def test_the_choice_is_compared_with_kd(trials, gains, text):
    assert text in answers.which_method(build(trials(gains)))[0]


def test_several_students_are_named(trials):
    board = build(trials({"kd": 0.05}, students=["cnn2", "cnn4"]))
    assert "Of 2 combinations, 2 beat" in answers.does_it_help(board).sentence
    assert "that of kd for cnn" in answers.does_it_help(board).sentence
    assert [sentence[:9] for sentence in answers.which_method(board)] == ["cnn2: kd,", "cnn4: kd,"]


def test_several_teachers_are_named(trials):
    board = build(trials({"kd": 0.05}) + [t for t in trials({"kd": 0.05}, teacher="cnn32") if t["role"] == "method"])
    assert {answers.label(board, row) for row in answers.compared(board)} == {"kd by cnn16", "kd by cnn32"}


def test_a_poor_teacher_is_warned_of(trials, trial):
    board = build([*trials({"kd": 0.05}), trial("teacher", "", "", 0, 0.5, teacher="poor")])
    (warning,) = answers.warnings(board)
    assert warning.startswith("The teacher poor is worse than cnn2 trained alone (50.0")


def test_an_errors_gain_is_a_smaller_error(trials):
    board = build(trials({"kd": -0.1}, metric="rmse", higher_is_better=False))
    assert "The largest gain that is shown is that of kd: −0.1" in answers.does_it_help(board).sentence
    assert "rmse" in answers.which_method(board)[0]
