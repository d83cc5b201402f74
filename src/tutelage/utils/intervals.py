"""Confidence intervals and verdicts over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

Interval = tuple[float, float]

ROUNDING = 2.0**-22
"""The largest error of a difference between two metrics, relative to them: they are computed in single precision."""


def confidence_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Return Student's t interval of the mean; None for fewer than two values, or if one isn't finite."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    half_width = _factor(len(values), confidence) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half_width, fmean(values) + half_width


def paired_differences(values: Sequence[float], references: Sequence[float]) -> list[float]:
    """Return the differences of metrics; those that only rounding tells apart, from each other or from 0, are equal.

    An accuracy has steps of one sample, so equal differences over seeds are common where they are small.
    """
    differences = [value - reference for value, reference in zip(values, references, strict=True)]
    error = ROUNDING * max(map(abs, [*values, *references]), default=0.0)
    if differences and max(differences) - min(differences) <= 2 * error:
        differences = [fmean(differences)] * len(differences)
    return [0.0 if abs(difference) <= error else difference for difference in differences]


def verdict(differences: Sequence[float], higher_is_better: bool = True) -> str:
    """Return "beats", "worse" or "undecided": the interval of paired differences is above, below or around 0.

    Equal differences are undecided: nothing is known of how they vary.
    """
    gains = [d if higher_is_better else -d for d in differences]
    bounds = confidence_interval(gains)
    if bounds is None or bounds[0] <= 0 <= bounds[1] or math.isclose(*bounds):
        return "undecided"
    return "beats" if bounds[0] > 0 else "worse"


def is_worse(value: float | None, reference: float | None, higher_is_better: bool = True) -> bool:
    """Return True if a metric is worse than a reference; False if either isn't known."""
    if value is None or reference is None:
        return False
    return value < reference if higher_is_better else value > reference


def interval_caveat(values: Sequence[float]) -> str:
    """Return a caveat about the interval of two values; empty for another number of values."""
    if len(values) == 2:
        widths = f"±{_factor(2):.1f} standard errors, that of five ±{_factor(5):.1f}"
        return f"two seeds are too few: their interval is {widths}"
    return ""


def _factor(count: int, confidence: float = 0.95) -> float:
    """Return Student's t: the half-width of the interval in standard errors of the mean."""
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, count - 1))
