"""Targets of independent labels: 1 where a sample has the label, 0 where it hasn't, -1 where it isn't known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import DataError, plain

NAMES_KEY = "label_names"
"""The array that names the labels."""


def read_names(path: Path, names: Any, count: int) -> tuple[str, ...]:
    """Return the names of labels; count: their number in y_train.

    Raises: DataError if they aren't as many, or one is there twice.
    """
    result = tuple(map(str, np.asarray(names).flatten()))
    if len(result) != count or len({*result}) < count:
        raise DataError(
            f"{plain(path)}: {NAMES_KEY} are {', '.join(result[:5])}{' …' if len(result) > 5 else ''}, and y_train has "
            f"{count} columns: expected a different name for each."
        )
    return result


def read_targets(path: Path, key: str, y: Any, names: Sequence[str]) -> Tensor:
    """Return an array of label sets as float32 (N, C).

    Raises: DataError that names the array, the row and the label of another value than 1, 0 and -1.
    """
    if y.ndim != 2 or y.shape[1] != len(names) or not len(y) or y.dtype.kind not in "biuf":
        raise DataError(f"{plain(path)}: {key} is {y.dtype} of shape {y.shape}: expected numbers (N, {len(names)}).")
    values = y.astype(np.float32)
    wrong = np.argwhere(~np.isin(values, (-1, 0, 1)))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(
            f"{plain(path)}: {key}, row {row}, has {y[row, column]} for {names[column]}: expected 1 (has the label), "
            "0 (hasn't), or -1 (not known)."
        )
    return torch.from_numpy(values)
