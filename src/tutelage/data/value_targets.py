"""The targets of a regression: numbers in their own units, scaled for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tutelage.errors import DataError


@dataclass(frozen=True)
class ValueTargets:
    """The names of the values that are estimated, and the mean and standard deviation that scale them.

    Networks are trained on (y − mean) / std, with the statistics of the training split.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def measure(cls, data: str, names: Sequence[str], values: Tensor) -> Self:
        """Measure the targets (N, T) of a training split; data: its name, for messages.

        Raises: DataError for a target that isn't finite or has one value only.
        """
        numbers = values.double()
        for column, name in zip(numbers.unbind(1), names, strict=True):
            if not column.isfinite().all():
                row = int((~column.isfinite()).nonzero()[0])
                raise DataError(f"data {data!r}: the target {name} of training sample {row} is {column[row].item()}.")
            if column.min() == column.max():
                raise DataError(
                    f"data {data!r}: the target {name} is {column[0].item():g} in all {len(column)} training samples, "
                    "so there is nothing to learn: choose another target."
                )
        return cls(tuple(names), tuple(numbers.mean(0).tolist()), tuple(numbers.std(0, correction=0).tolist()))

    def scale(self, values: Tensor) -> Tensor:
        """Return targets (B, T, …) in units of the training split's standard deviation, as float32."""
        mean, std = self._columns(values)
        return ((values.double() - mean) / std).float()

    def conversion_from(self, other: ValueTargets) -> tuple[list[float], list[float]]:
        """Return factors and summands that convert values scaled by `other` to this scale."""
        factors = [other_std / std for other_std, std in zip(other.std, self.std, strict=True)]
        offsets = zip(other.mean, self.mean, self.std, strict=True)
        return factors, [(other_mean - mean) / std for other_mean, mean, std in offsets]

    def restore(self, scaled: Tensor) -> Tensor:
        """Return scaled values (B, T, …) in their own units, as float64."""
        mean, std = self._columns(scaled)
        return scaled.double() * std + mean

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation in the form of values (B, T) or of maps (B, T, H, W)."""
        shape = (-1, *(1 for _ in like.shape[2:]))
        mean, std = (torch.tensor(x, dtype=torch.float64, device=like.device) for x in (self.mean, self.std))
        return mean.view(shape), std.view(shape)
