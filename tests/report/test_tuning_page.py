"""The page on a search: its sentences, what it escapes, and its layout."""

from __future__ import annotations

import pytest

from tests.report.test_layout import BROKEN, DRAWN, OVER, SIZES, opened
from tutelage.report import tuning_page


def result(**changes):
    """Return the result of a search of four trials, of which two are complete."""
    point = {"method.at.weight": 12.5, "augment": "<b>crop"}
    trial = {"number": 0, "point": point, "state": "done", "value": 0.5, "curve": [0.4, 0.5], "reason": ""}
    others = [
        trial | {"number": 1, "state": "failed", "value": None, "reason": "<i>the loss is NaN"},
        trial | {"number": 2, "state": "stopped", "value": None, "reason": "worse than half"},
        trial | {"number": 3, "value": 0.625},
    ]
    return {
        "metric": "accuracy",
        "higher_is_better": True,
        "trial": 3,
        "value": 0.625,
        "point": point,
        "trials": [trial, *others],
        "tuned": {"values": [0.6, 0.7], "interval": [0.2, 0.9]},
        "untuned": {"values": [0.5, 0.55], "interval": [0.3, 0.8]},
        "gain": {"values": [0.1, 0.15], "interval": [-0.2, 0.45], "verdict": "undecided"},
        "seeds": [2, 3],
        "space": {"method.at.weight": "1 to 1000, log", "augment": "<b>crop, none"},
        "importance": {"method.at.weight": 0.75, "augment": 0.25},
        "data": "folder:<script>",
        "command": "tutelage distill '<x>'",
    } | changes


def test_the_sentence_has_the_comparison_and_where_it_comes_from():
    page = tuning_page.render(result())
    assert "65.0\u00a0% accuracy on test, the untuned configuration 52.5\u00a0%" in page
    assert "2 new seeds, 95 % interval of the difference −20.00 to +45.00 points" in page.replace("\u00a0", " ")
    assert "Trial 3 was chosen on validation, of 4 trials, 2 of them complete" in page
    one = {"values": [0.1], "interval": None, "verdict": "undecided"}
    arm = {"values": [0.5], "interval": None}
    alone = tuning_page.render(result(gain=one, tuned=arm, untuned=arm, seeds=[2]))
    assert "one seed gives no interval" in alone


def test_a_metric_that_is_better_if_lower_has_no_percents():
    errors = {"values": [2.5, 2.6], "interval": [2.0, 3.1]}
    page = tuning_page.render(result(metric="rmse", higher_is_better=False, tuned=errors, untuned=errors))
    assert "2.55 rmse on test" in page


def test_what_came_from_users_is_escaped():
    page = tuning_page.render(result())
    assert "<b>" not in page
    assert "<i>" not in page
    assert page.count("<script>") == 1  # the page's own


@pytest.mark.parametrize("size", SIZES)
def test_nothing_overflows(tmp_path, browser, size):
    tuning_page.write(tmp_path / "tuning.html", result())
    page = opened(browser, tmp_path / "tuning.html", size)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [page.evaluate(script) for script in (OVER, DRAWN, BROKEN)] == [[], [], []]
    page.close()
