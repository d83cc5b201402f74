import json

import pytest

from tutelage.explanation import capacity
from tutelage.explanation.base import OverSeeds


def fit(ratio, train, test):
    return capacity.Fit(ratio, OverSeeds([train]), OverSeeds([test]))


@pytest.mark.parametrize(
    ("given", "helps", "word"),
    [
        (fit(50, 0.99, 0.9), False, "isn't too small"),
        (fit(1.2, 0.8, 0.8), False, "no gap to bridge"),
        (fit(50, 0.95, 0.8), None, "don't support"),
        (fit(3, 0.8, 0.8), None, "don't decide"),
        (fit(50, 0.2, 0.15), True, "94.1\u00a0%"),
        (fit(50, 0.8, 0.8), True, "consistent with a capacity gap"),
    ],
)
def test_judgement_is_no_more_than_the_numbers_support(given, helps, word):
    sentence, may_help = capacity.judge(given)
    assert may_help is helps
    assert word in sentence


def test_sizes_and_fit_are_the_run_s(figures, run_folder):
    made = figures(capacity)
    result = json.loads((run_folder / "result.json").read_text())
    for role, values in made["sizes"].values.items():
        assert values["parameters"] == result[role]["parameters"]
        seeds = result[role]["values"]
        assert values["accuracy on test"] == pytest.approx(seeds[0], abs=1e-6)
    gap = made["gap"].values
    assert gap["ratio"] == result["teacher"]["parameters"] / result["student"]["parameters"]
    middle = gap["assistant"]["parameters"]
    assert result["student"]["parameters"] < middle < result["teacher"]["parameters"]
