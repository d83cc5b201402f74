"""Each sample's part in a metric, from which its noise over test sets is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _unchanged(mean: Any) -> Any:
    return mean


@dataclass(frozen=True)
class SampleScores:
    """Scores (N,) of samples, of which the metric is `finish(their mean)`.

    Args:
        values: the scores, such as whether each prediction is right, or each squared error.
        finish: a function of means, such as the square root.
    """

    values: NDArray[Any]
    finish: Callable[[Any], Any] = _unchanged

    @property
    def metric(self) -> float:
        """The metric over all samples."""
        return float(self.finish(self.values.mean(dtype=np.float64)))


def scores_of_errors(metric: str, estimates: NDArray[Any], targets: NDArray[Any]) -> SampleScores | None:
    """Return the squared or absolute errors of estimates (N, 1); None for other metrics, and for several values."""
    errors = estimates - targets
    of_metric = {"rmse": SampleScores(errors[:, 0] ** 2, np.sqrt), "mae": SampleScores(abs(errors[:, 0]))}
    return of_metric.get(metric) if errors.shape[1] == 1 else None
