"""Statistics of a study: paired comparisons over seeds, corrected verdicts, seeds to decide, and test-set noise.

Arrays of differences are (…, S), one entry for each seed; a seed that one of the two lacks is NaN and left out.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
LEVEL, POWER = 0.05, 0.8
"""The rate of wrong verdicts in a whole table, and the chance with which enough seeds find an effect."""

MOST_SEEDS, LARGEST_EFFECT = 10_000, 100.0
"""The most seeds that are proposed, and an effect size beyond which their number is the same."""

RESAMPLES, AT_ONCE = 2_000, 100
"""The number of test sets that a bootstrap draws, and of those that it holds at once."""

SAME = 1e-9
"""The size of a mean or spread, relative to the largest difference, below which it is an error of rounding."""


@dataclass(frozen=True)
class PairedTest:
    """Student's paired t test: arrays (…) of the count of pairs, the mean and spread of differences d, and more.

    interval: (…, 2), d̄ ± t₀.₉₇₅ s/√n, which isn't corrected. p: that d̄ = 0, two-sided. effect: d_z = d̄/s, Cohen's,
    times Hedges' 1 − 3/(4(n − 1) − 1). NaN where n < 2; p and effect also where all differences are equal, since a
    test needs a spread; effect also where n = 2, for which Hedges' factor is 0.
    """

    count: NDArray[np.integer]
    mean: Array
    spread: Array
    interval: Array
    p: Array
    effect: Array


def paired_test(differences: Sequence[float] | Array) -> PairedTest:
    """Test whether the mean of paired differences (…, S) is 0. Hedges, Olkin 1985, for the effect size."""
    from scipy.stats import t

    d = np.asarray(differences, np.float64)
    known = np.isfinite(d)
    rounding = SAME * np.where(known, abs(d), 0).max(-1, initial=0)
    n = known.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, d, 0).sum(-1) / np.where(n, n, np.nan)
        deviations = np.where(known, d - mean[..., None], 0)
        spread = np.sqrt((deviations**2).sum(-1) / np.where(n > 1, n - 1, np.nan))
        mean, spread = (np.where(abs(x) <= rounding, 0.0, x) for x in (mean, spread))
        error, freedom = spread / np.sqrt(n), np.where(n > 1, n - 1, np.nan)
        half = t.ppf(0.975, freedom) * error
        statistic = np.where(spread > 0, mean / error, np.nan)
        effect = np.where((spread > 0) & (n > 2), mean / spread, np.nan) * (1 - 3 / (4 * freedom - 1))
    interval = np.stack([mean - half, mean + half], -1)
    return PairedTest(n, mean, spread, interval, 2 * t.sf(abs(statistic), freedom), effect)


def holm(p: Sequence[float] | Array) -> Array:
    """Correct p values (…, K) for the number of comparisons: p̃₍ᵢ₎ = max over j ≤ i of min(1, (K − j) p₍ⱼ₎), j = 0, 1, …

    The rate of studies with any wrong verdict is then at most that of one comparison, also if they depend.
    NaN isn't a comparison and stays NaN. Holm, Scandinavian Journal of Statistics 1979.
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, -1, kind="stable")  # NaN come last
    comparisons = np.isfinite(values).sum(-1, keepdims=True) - np.arange(values.shape[-1])
    with np.errstate(invalid="ignore"):
        scaled = np.minimum(np.take_along_axis(values, order, -1) * comparisons, 1)
    corrected = np.empty_like(values)
    np.put_along_axis(corrected, order, np.maximum.accumulate(scaled, -1), -1)
    return corrected


def verdicts(mean: Sequence[float] | Array, corrected: Array, higher_is_better: bool = True) -> NDArray[np.str_]:
    """Return "beats", "worse" or "undecided" for mean differences and their corrected p values."""
    gain = np.asarray(mean) if higher_is_better else -np.asarray(mean)
    decided = np.asarray(corrected) < LEVEL  # NaN: False
    return np.where(decided & (gain > 0), "beats", np.where(decided & (gain < 0), "worse", "undecided"))


def level_of_next(corrected: Sequence[float] | Array) -> float:
    """Return the level that the next comparison has to pass: LEVEL / (the number of those that aren't decided)."""
    known = [p for p in np.asarray(corrected, np.float64).tolist() if math.isfinite(p)]
    return LEVEL / max(1, sum(p >= LEVEL for p in known))


def power(seeds: int, effect: float, level: float = LEVEL) -> float:
    """Return the chance that the paired t test finds an effect d_z = mean/spread, in its direction, at a level."""
    from scipy.stats import nct, t

    bound = t.ppf(1 - level / 2, seeds - 1)
    return float(nct.sf(bound, seeds - 1, min(abs(effect), LARGEST_EFFECT) * math.sqrt(seeds)))


def seeds_to_decide(mean: float, spread: float, level: float = LEVEL) -> int | None:
    """Return the smallest number of seeds with power ≥ 0.8, if mean and spread are as measured.

    None if there is no spread or no mean, as from one seed, or if more than MOST_SEEDS are needed. Few seeds give a
    rough number: the effect of three is uncertain, and the number of seeds goes with 1/effect².
    """
    if not (math.isfinite(mean) and math.isfinite(spread) and mean and spread):
        return None
    counts = range(2, MOST_SEEDS + 1)
    place = bisect_left(counts, POWER, key=lambda seeds: power(seeds, mean / spread, level))
    return counts[place] if place < len(counts) else None


def mcnemar(right: NDArray[np.bool_], reference_right: NDArray[np.bool_]) -> float:
    """Return the p value of McNemar's exact test that two models are right on equally many samples; (N,) each.

    Only the b and c samples on which exactly one is right count: b ~ Binomial(b + c, ½). McNemar, Psychometrika 1947.
    """
    from scipy.stats import binomtest

    only, only_reference = int((right & ~reference_right).sum()), int((~right & reference_right).sum())
    differing = only + only_reference
    return float(binomtest(only, differing).pvalue) if differing else 1.0


def bootstrap_interval(
    scores: Array, reference: Array, finish: Callable[[Any], Any] = lambda mean: mean
) -> tuple[float, float]:
    """Return the 95 % interval over test sets of the mean over seeds of finish(mean score) − finish(mean reference).

    Both models are judged on the same drawn samples. Efron, Tibshirani 1993: the percentile bootstrap, of fixed seed.

    Args:
        scores: (S, N), each sample's score in each seed.
        reference: (S, N), the scores of the other model on the same samples, in the same seeds.
        finish: the metric as a function of the mean score, such as the root of a mean of squares.
    """
    random, n = np.random.default_rng(0), scores.shape[1]
    kinds, counts = np.unique(np.concatenate([scores, reference]), axis=1, return_counts=True)  # of samples
    draws = []
    for _ in range(RESAMPLES // AT_ONCE):
        drawn = random.multinomial(n, counts / n, AT_ONCE)
        means = np.einsum("dk,sk->ds", drawn, kinds) / n  # not @, whose last digit depends on the number of threads
        own, others = np.split(finish(means), 2, axis=1)
        draws.append(own.mean(1) - others.mean(1))
    low, high = np.quantile(np.concatenate(draws), (0.025, 0.975))
    return float(low), float(high)
