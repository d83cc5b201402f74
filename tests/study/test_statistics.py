"""The statistics hold: on simulated studies with known effects, and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tutelage.study.statistics import (
    LEVEL,
    bootstrap_interval,
    holm,
    level_of_next,
    mcnemar,
    paired_test,
    power,
    seeds_to_decide,
    verdicts,
)

STUDIES = 2_000
NAN = math.nan


def within_three_errors(rate: float, expected: float, count: int = STUDIES) -> bool:
    return abs(rate - expected) <= 3 * math.sqrt(expected * (1 - expected) / count)


def accuracies(seed: int, rows: int, seeds: int, effects: float | np.ndarray = 0.0, spread: float = 1.0) -> np.ndarray:
    """Simulated studies (STUDIES, rows, seeds): a seed's luck is shared by all rows, as that of its start and order."""
    random = np.random.default_rng(seed)
    luck = random.normal(0, 2, (STUDIES, 1, seeds))
    own = random.normal(0, spread / math.sqrt(2), (STUDIES, rows, seeds))
    return luck + own + np.reshape(effects, (-1, 1))


# simulated studies


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("effect", [0.0, 0.7])
def test_intervals_cover_the_true_gain_at_their_rate(seeds, effect):
    values = accuracies(seeds, 2, seeds, np.array([0.0, effect]))
    low, high = paired_test(values[:, 1] - values[:, 0]).interval.T
    assert within_three_errors(((low <= effect) & (effect <= high)).mean(), 0.95)


def test_intervals_cover_with_missing_seeds():
    values = accuracies(1, 2, 8, np.array([0.0, 0.7]))
    missing = np.random.default_rng(2).random((STUDIES, 8)) < 0.3
    tested = paired_test(np.where(missing, NAN, values[:, 1] - values[:, 0]))
    known = tested.count >= 2
    low, high = tested.interval[known].T
    assert within_three_errors(((low <= 0.7) & (high >= 0.7)).mean(), 0.95, known.sum())


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("helpful", [0, 4])
def test_few_studies_have_any_wrong_verdict(seeds, helpful):
    """Rows × references, with the shared noise of one alone and one KD: of the rows without an effect, none wins."""
    effects = np.zeros(22)
    effects[2 : 2 + helpful] = 5.0
    values = accuracies(10 + seeds, 22, seeds, effects)
    against_alone, against_kd = (values - values[:, [i]] for i in (0, 1))
    differences = np.concatenate([against_alone[:, 1:], against_kd[:, 2:]], 1)
    tested = paired_test(differences)
    corrected = holm(tested.p)
    words = verdicts(tested.mean, corrected)
    null = np.concatenate([effects[1:], effects[2:]]) == 0
    wrong = (words[:, null] != "undecided").any(1).mean()
    assert wrong <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / STUDIES)
    uncorrected = (tested.p[:, null] < LEVEL).any(1).mean()
    assert uncorrected > 0.3, "without the correction it would fail"
    if helpful:
        found = (words[:, ~null] == "beats").mean()
        assert found > {3: 0.05, 5: 0.6}[seeds]


@pytest.mark.parametrize("level", [LEVEL, LEVEL / 40])
@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_so_many_seeds_decide_four_studies_of_five(effect, level):
    """The number of seeds that simulation finds is that of the formula within a factor of 1.5, here 1.15."""
    needed = seeds_to_decide(effect, 1.0, level)
    assert needed is not None
    random = np.random.default_rng(3)

    def share(seeds: int) -> float:
        tested = paired_test(random.normal(effect, 1, (STUDIES, seeds)))
        return float(((tested.p < level) & (tested.mean > 0)).mean())

    assert share(math.ceil(1.15 * needed)) >= 0.8
    assert share(math.floor(needed / 1.15)) < 0.8
    assert power(needed, effect, level) >= 0.8 > power(needed - 1, effect, level)


@pytest.mark.parametrize(("seeds", "effect"), [(3, 1.0), (5, 0.7), (10, 0.5)])
def test_the_typical_proposal_of_a_small_study_is_right_within_a_factor_of_1_5(seeds, effect):
    """The number falls with |mean / spread|, so that its median is that of the median."""
    tested = paired_test(np.random.default_rng(4).normal(effect, 1, (STUDIES, seeds)))
    proposed = seeds_to_decide(float(np.median(abs(tested.mean / tested.spread))), 1.0)
    needed = seeds_to_decide(effect, 1.0)
    assert needed / 1.5 <= proposed <= needed * 1.5


def test_hedges_correction_removes_the_bias():
    tested = paired_test(np.random.default_rng(5).normal(0.8, 1, (200_000, 5)))
    assert tested.effect.mean() == pytest.approx(0.8, abs=0.02)
    assert (tested.mean / tested.spread).mean() > 0.9


def test_two_seeds_have_no_effect_size():
    assert np.isnan(paired_test([[0.1, 0.2], [np.nan, 0.2]]).effect).all()


def test_the_bootstrap_covers_over_test_sets(monkeypatch):
    monkeypatch.setattr("tutelage.study.statistics.RESAMPLES", 400)
    random, hits = np.random.default_rng(6), 0
    for _ in range(200):
        hard = random.random(400)
        right, reference = (np.stack([random.random(400) < p * hard + 0.3 for _ in range(2)]) for p in (0.6, 0.5))
        low, high = bootstrap_interval(right.astype(float), reference.astype(float))
        hits += low <= 0.05 <= high
    assert hits / 200 == pytest.approx(0.95, abs=0.046)


def test_mcnemar_rejects_equal_models_at_most_at_its_level():
    random = np.random.default_rng(7)
    right = random.random((2, STUDIES, 300)) < 0.8
    assert np.mean([mcnemar(*pair) < LEVEL for pair in right.transpose(1, 0, 2)]) <= LEVEL


# against other code


def test_the_test_is_scipys():
    differences = [0.012, -0.004, 0.02, 0.011, 0.007]
    tested, expected = paired_test(differences), stats.ttest_1samp(differences, 0)
    assert tested.p == pytest.approx(expected.pvalue)
    assert tested.interval.tolist() == pytest.approx(list(expected.confidence_interval()))


def test_holm_of_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9, 0.5]).tolist() == [1.0, 1.0, 1.0]


def test_the_bootstrap_is_scipys():
    random = np.random.default_rng(8)
    a, b = random.random((2, 1, 500))
    expected = stats.bootstrap((a[0], b[0]), lambda x, y, axis: (x - y).mean(axis), paired=True, method="percentile")
    assert bootstrap_interval(a, b) == pytest.approx(tuple(expected.confidence_interval), abs=0.003)


def test_mcnemar_counts_the_samples_on_which_one_is_right():
    right, reference = np.zeros(50, bool), np.zeros(50, bool)
    right[:9], reference[8:11] = True, True  # 8 against 2, one both
    assert mcnemar(right, reference) == pytest.approx(2 * stats.binom.cdf(2, 10, 0.5))


# edges


def test_one_seed_and_none_are_undecided():
    tested = paired_test([[0.2, NAN, NAN], [NAN, NAN, NAN]])
    assert tested.count.tolist() == [1, 0]
    assert tested.mean[0] == 0.2
    assert np.isnan(tested.p).all()
    assert np.isnan(tested.interval).all()
    assert verdicts(tested.mean, holm(tested.p)).tolist() == ["undecided"] * 2
    assert seeds_to_decide(tested.mean[0], tested.spread[0]) is None


def test_no_seed_at_all():
    tested = paired_test(np.zeros((2, 0)))
    assert np.isnan(tested.mean).all()
    assert holm(np.zeros((2, 0))).shape == (2, 0)


def test_two_seeds_have_the_wide_interval():
    tested = paired_test([0.01, 0.03])
    assert tested.interval.tolist() == pytest.approx([0.02 - 12.706 * 0.01, 0.02 + 12.706 * 0.01], abs=1e-5)
    assert verdicts(tested.mean, tested.p) == "undecided"


@pytest.mark.parametrize("differences", [[0.1, 0.1, 0.1], [0.3 - 0.2, 0.2 - 0.1, 0.1], [0.0, 0.0], [-0.1] * 5])
def test_equal_differences_are_no_test(differences):
    """Seeds without an effect, as of a fitted model, repeat one result: they don't confirm it."""
    tested = paired_test(differences)
    assert tested.spread == 0
    assert tested.interval[0] == tested.interval[1] == tested.mean
    assert verdicts(tested.mean, tested.p) == "undecided"
    assert seeds_to_decide(float(tested.mean), float(tested.spread)) is None


def test_a_mean_of_rounding_errors_is_none():
    tested = paired_test([0.1, 0.2, -0.3 + 1e-17])
    assert tested.mean == 0
    assert tested.effect == 0
    assert tested.p == 1


def test_missing_seeds_are_left_out():
    whole, partial = paired_test([0.1, 0.2, 0.4]), paired_test([0.1, NAN, 0.2, 0.4, math.inf])
    assert partial.count == 3
    assert partial.p == whole.p


def test_holm_ignores_looks_without_a_p_value():
    corrected = holm([0.02, NAN, 0.03])
    assert corrected[[0, 2]].tolist() == pytest.approx([0.04, 0.04])
    assert np.isnan(corrected[1])


@pytest.mark.parametrize(("higher", "word"), [(True, "worse"), (False, "beats")])
def test_the_direction_is_the_metrics(higher, word):
    assert verdicts(-0.1, 0.01, higher) == word


def test_the_level_is_that_of_the_looks_that_are_open():
    assert level_of_next([0.01, 0.2, 0.3, NAN]) == LEVEL / 2
    assert level_of_next([0.01]) == LEVEL
    assert level_of_next([]) == LEVEL


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (1.0, 0.0), (NAN, 1.0), (1.0, NAN), (1e-6, 1.0)])
def test_no_number_of_seeds_decides(mean, spread):
    assert seeds_to_decide(mean, spread) is None


@pytest.mark.parametrize(("mean", "count"), [(-1.0, 10), (1.0, 10), (1e9, 2)])
def test_a_difference_for_the_worse_is_decided_by_as_many(mean, count):
    assert seeds_to_decide(mean, 1.0) == count


def test_equal_predictions_have_no_noise():
    right = np.random.default_rng(0).random((2, 50)) < 0.5
    assert bootstrap_interval(right.astype(float), right.astype(float)) == (0.0, 0.0)
    assert mcnemar(right[0], right[0]) == 1.0


def test_the_bootstrap_of_a_root_of_squares():
    random = np.random.default_rng(9)
    squares, reference = random.normal(0, 1, (2, 400)) ** 2, random.normal(0, 2, (2, 400)) ** 2
    low, high = bootstrap_interval(squares, reference, np.sqrt)
    assert low < -1 < high
    assert high - low < 0.4
