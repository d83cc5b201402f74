"""Splits whose samples are windows of long series."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tutelage.data.splits import Sample, Split, ViewSeed


@dataclass(frozen=True, eq=False)
class WindowForm:
    """The form of windows: how many rows are inputs and how many follow, and the columns to forecast in these.

    window, horizon: numbers of rows; a horizon of 0: windows have labels. columns: the numbers of the columns to
    forecast. scale: of each of these, the mean absolute error of the naive forecast over the training rows.
    """

    window: int
    horizon: int
    columns: tuple[int, ...]
    scale: tuple[float, ...]


class WindowSplit(Split):
    """Windows (C, T) of series (rows, C), with the values that follow, (N, H·K), the first time's first, or a label.

    Args:
        series: the rows of all series, one after the other, float32.
        starts: (N,) the first row of each window.
        form: the form of the windows.
        labels: (N,) each window's class, if they have classes.
    """

    def __init__(self, series: Tensor, starts: Tensor, form: WindowForm, labels: Tensor | None = None) -> None:
        self.series, self.starts, self.form, self.labels = series, starts, form, labels

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def values(self) -> Tensor | None:
        """The values to forecast; None if windows have classes."""
        return None if self.labels is not None else self._following(torch.arange(len(self)))

    def take(self, rows: Tensor) -> Self:
        """Select windows; the memory is shared."""
        return type(self)(self.series, self.starts[rows], self.form, None if self.labels is None else self.labels[rows])

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Yield windows with the view's policies applied; `workers` has no effect."""
        for batch in batches:
            rows = self.starts[batch][:, None] + torch.arange(self.form.window)
            windows = self.series[rows].mT.contiguous()
            if augmentation.policies:
                windows = torch.stack([augmentation.augment(x, int(n)) for x, n in zip(windows, batch, strict=True)])
            yield windows, self._following(batch) if self.labels is None else self.labels[batch]

    def fingerprint(self) -> str:
        """Hash the series, the windows and their labels."""
        digest = hashlib.sha256(f"{self.form.window} {self.form.horizon} {self.form.columns}".encode())
        for x in (self.series, self.starts, self.labels):
            if x is not None:
                digest.update(x.numpy().data)
        return digest.hexdigest()

    def _following(self, numbers: Tensor) -> Tensor:
        """Return the values that follow these windows."""
        rows = self.starts[numbers][:, None] + torch.arange(self.form.horizon) + self.form.window
        return self.series[rows][:, :, list(self.form.columns)].flatten(1)
