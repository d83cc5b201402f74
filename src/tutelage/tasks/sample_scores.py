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
