"""Which candidate is chosen: means, ties, what failed, and the words."""

from __future__ import annotations

from typing import Any

import pytest

from tutelage.errors import TutelageError
from tutelage.study.candidates import Candidate, ChoicePlan
from tutelage.study.chosen import conclude, is_tie
from tutelage.study.store import StoredTrial
from tutelage.study.trial import StudyTrial

KINDS = {"kd": "response", "dkd": "response", "pkt": "relation", "fitnet": "feature"}
NAMES = ("kd", "pkt", "fitnet")


def choose(values: dict[str, list[float | None]], higher_is_better: bool = True, state: str = "stopped") -> Any:
    """Conclude from figures by candidate and seed; None: a trial that stopped after 2 of 4 epochs."""
    candidates = [Candidate(name, kind, name) for name, kind in KINDS.items() if name in values]
    plan = ChoicePlan(candidates, {}, ("a", "b"), 2, 4, [1, 2], 32, 160)
    trials = [
        StoredTrial(
            StudyTrial("method", "s", "t", name, seed, {}), "", "done" if value is not None else state,  # type: ignore[arg-type]
            "" if value is not None else "it was behind", epoch=2, seconds=3.0,
            result=None if value is None else {"student": {"m": value}},
        )
        for name, row in values.items()
        for seed, value in enumerate(row)
    ]  # fmt: skip
    return conclude(plan, trials, "m", higher_is_better, 40)


def test_the_best_mean_is_chosen() -> None:
    choice = choose({"alone": [0.5, 0.51], "kd": [0.55, 0.57], "pkt": [0.6, 0.62], "fitnet": [None, None]})
    assert choice["chosen"] == choice["method"] == "pkt"
    text = " ".join(choice["reasons"])
    assert "pkt: validation m 0.6100, mean of 2 seeds, the best of 4 candidates after 4 epochs" in text
    assert "stopped: fitnet" in text
    assert "Against the student alone: +0.1050" in text
    assert "a with the teacher's b" in text
    assert choice["cost"] == {"seconds": 24.0, "epochs": 28, "share": 28 / 160}
    assert [row["gain"] for row in choice["candidates"]] == [None, pytest.approx(0.055), pytest.approx(0.105), None]


def test_lower_is_better_where_it_is() -> None:
    choice = choose({"alone": [3.0, 3.1], "kd": [2.0, 2.1], "pkt": [4.0, 4.2], "fitnet": [5.0, 5.0]}, False)
    assert choice["chosen"] == "kd"


def test_ties_go_to_the_cheaper() -> None:
    choice = choose({"alone": [0.5, 0.5], "kd": [0.58, 0.6], "pkt": [0.57, 0.63], "fitnet": [0.6, 0.58]})
    assert choice["chosen"] == "kd"  # pkt is 0.01 ahead, but one seed says otherwise
    assert "of the cheapest kind among 3 that their seeds can't tell from the best" in choice["reasons"][0]
    assert "The best, pkt, differs by +0.0100" in choice["reasons"][1]


def test_of_one_kind_the_best_is_chosen() -> None:
    choice = choose({"alone": [0.5, 0.5], "kd": [0.58, 0.6], "dkd": [0.57, 0.62], "pkt": [0.57, 0.63]})
    assert choice["chosen"] == "dkd"  # kd ties with it, and costs the same


def test_the_student_alone_does_not_win_by_a_tie() -> None:
    choice = choose({"alone": [0.5, 0.62], "kd": [0.58, 0.6], "pkt": [0.4, 0.4], "fitnet": [0.1, 0.1]})
    assert choice["chosen"] == "kd"


def test_the_student_alone_may_win() -> None:
    choice = choose({"alone": [0.6, 0.6], "kd": [0.5, 0.5], "pkt": [0.4, 0.4], "fitnet": [0.1, 0.1]})
    assert choice["chosen"] == "alone"
    assert choice["method"] is None
    assert "chose the student alone" in choice["reasons"][0]


def test_what_failed_or_is_no_number_is_not_chosen() -> None:
    values = {"alone": [0.5, 0.5], "kd": [0.9, None], "pkt": [float("nan"), 0.9], "fitnet": [0.6, 0.6]}
    choice = choose(values, state="failed")
    assert choice["chosen"] == "fitnet"
    assert "Failed: kd, pkt." in choice["reasons"]
    assert [row["reason"] for row in choice["candidates"]] == ["", "it was behind", "m isn't a number", ""]


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(TutelageError, match="no candidate of method=auto could be trained; alone: it was behind"):
        choose({key: [None, None] for key in ("alone", *NAMES)}, state="failed")


def test_a_tie_is_a_mean_within_its_standard_error() -> None:
    assert is_tie([0.1, -0.05])
    assert is_tie([0.0, 0.0])
    assert is_tie([0.0])
    assert not is_tie([0.1, 0.05])
    assert not is_tie([0.2])
