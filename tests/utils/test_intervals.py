"""Means, intervals and verdicts."""

import math
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats

from tutelage.utils.intervals import confidence_interval, interval_caveat, is_worse, paired_differences, verdict

VALUES = [0.91, 0.935, 0.92, 0.94, 0.928]


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_interval_is_scipys(confidence):
    error = stats.sem(VALUES)
    expected = stats.t.interval(confidence, len(VALUES) - 1, loc=fmean(VALUES), scale=error)
    assert confidence_interval(VALUES, confidence) == pytest.approx(expected)


def test_the_interval_by_hand():
    half = 12.706204736 * stdev([1.0, 2.0]) / math.sqrt(2)  # t of one degree of freedom at 97.5 %
    assert confidence_interval([1.0, 2.0]) == pytest.approx((1.5 - half, 1.5 + half))


def test_fewer_than_two_values_have_no_interval():
    assert confidence_interval([0.9]) is None
    assert confidence_interval([]) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_arent_finite_have_no_interval_and_no_verdict(value):
    assert confidence_interval([0.9, value]) is None
    assert verdict([0.9, value]) == "undecided"


def test_verdicts():
    assert verdict([0.02, 0.021, 0.019]) == "beats"
    assert verdict([-0.02, -0.021, -0.019]) == "worse"
    assert verdict([0.02, -0.02, 0.01]) == "undecided"
    assert verdict([0.5]) == "undecided"
    assert verdict([0.3, 0.1 + 0.2, 0.3]) == "undecided"  # equal but for rounding
    assert verdict([-0.02, -0.021, -0.019], higher_is_better=False) == "beats"


@pytest.mark.parametrize("samples", [359, 500, 3000, 10_000])
def test_equal_differences_of_metrics_in_single_precision_are_equal(samples):
    """One right answer more in each seed says nothing of how much seeds differ."""
    right = np.array([0.31, 0.52, 0.77, 0.93]) * samples // 1
    alone, taught = ((np.float32(n) / np.float32(samples)).astype(float).tolist() for n in (right, right + 1))
    differences = paired_differences(taught, alone)
    assert differences == pytest.approx([1 / samples] * 4, rel=0.01)
    assert len(set(differences)) == 1
    assert verdict(differences) == "undecided"
    assert paired_differences(alone, alone) == [0, 0, 0, 0]


def test_differences_of_errors_of_rounding_are_none():
    assert paired_differences([0.5 + 1e-9, 0.5, 0.9], [0.5, 0.5, 0.7]) == [0, 0, pytest.approx(0.2)]
    assert paired_differences([5e4, 5e4 + 0.004], [5e4 - 3, 5e4 - 3]) == [pytest.approx(3.002)] * 2
    assert paired_differences([0.52, 0.53], [0.5, 0.5]) == pytest.approx([0.02, 0.03])
    assert paired_differences([], []) == []


def test_a_verdict_agrees_with_the_paired_test():
    gains = [0.004, 0.009, -0.001, 0.006, 0.005]
    assert (stats.ttest_1samp(gains, 0).pvalue < 0.05) == (verdict(gains) == "beats")


@pytest.mark.parametrize(
    ("teacher", "baseline", "higher", "expected"),
    [(0.26, 0.61, True, True), (0.7, 0.61, True, False), (0.3, 0.2, False, True), (None, 0.61, True, False)],
)
def test_a_figure_is_worse_by_the_metric_s_direction(teacher, baseline, higher, expected):
    assert is_worse(teacher, baseline, higher) is expected


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.2], [0.1, 0.2, 0.3]])
def test_two_seeds_are_said_to_be_too_few(values):
    said = interval_caveat(values)
    assert bool(said) == (len(values) == 2)
    assert not said or ("too few" in said and "12.7" in said)
