"""Means, intervals and verdicts over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

Interval = tuple[float, float]


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Student's t interval of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    half = _factor(len(values), confidence) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def verdict(differences: Sequence[float], higher_is_better: bool = True) -> str:
    """ "beats", "worse" or "undecided": whether the interval of paired differences lies above, below or around 0."""
    gains = [d if higher_is_better else -d for d in differences]
    bounds = interval(gains)
    if bounds is None or bounds[0] <= 0 <= bounds[1]:
        return "undecided"
    return "beats" if bounds[0] > 0 else "worse"


def worse(value: float | None, other: float | None, higher_is_better: bool = True) -> bool:
    """Whether one figure is worse than another; not if either isn't known."""
    if value is None or other is None:
        return False
    return value < other if higher_is_better else value > other


def doubts(values: Sequence[float]) -> str:
    """What to say beside the interval of so few values; empty if there are enough."""
    if len(values) == 2:
        wide = f"{_factor(2):.1f} standard errors wide, that of five {_factor(5):.1f}"
        return f"two seeds are too few: their interval is {wide}"
    return ""


def _factor(count: int, confidence: float = 0.95) -> float:
    """Student's t: so many standard errors of the mean on either side."""
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, count - 1))
