"""Targets with several label columns: checks of their arrays, each column's logits, and the samples with a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import DataError, plain
from tutelage.losses.base import IGNORE_INDEX

MISSING = -1
"""The label of a sample without a label in a column; in targets any negative number has that meaning."""


def column_slices(sizes: Sequence[int]) -> list[slice]:
    """Return each column's slice of the logits, given each column's number of classes."""
    return [slice(end - size, end) for end, size in zip(accumulate(sizes), sizes, strict=True)]


def split_columns(response: Tensor, targets: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Return each column's logits and targets, for the samples with a label in it; without columns, both unchanged.

    response: (B, sum of sizes) logits. targets: (B, K). Pairs of (B', size) and (B',).
    """
    if not sizes:
        return [(response, targets)]
    pairs = zip(column_slices(sizes), targets.unbind(1), strict=True)
    return [(response[labels >= 0, span], labels[labels >= 0]) for span, labels in pairs]


Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


def column_class_names(path: Path, arrays: Mapping[str, Array]) -> dict[str, tuple[str, ...]]:
    """Return the class names of each label column.

    The array `columns` has the columns' names; `classes_NAME` has a column's class names, else they are numbers.
    Raises: DataError if names are missing, repeated, or fewer than the classes of y_train.
    """
    columns, y = (
        [str(name) for name in np.atleast_1d(arrays["columns"])],
        column_labels(path, "y_train", arrays["y_train"]),
    )
    if y.shape[1] != len(columns) or len({*columns}) < len(columns) or len(columns) < 2:
        raise DataError(
            f"{plain(path)}: `columns` lists {', '.join(columns)}, and y_train has {y.shape[1]} label columns: "
            "expected two or more columns with different names."
        )
    class_names = {}
    for column, top in zip(columns, y.amax(0).tolist(), strict=True):
        names = tuple(str(name) for name in arrays.get(f"classes_{column}", np.arange(top + 1)))
        if len(names) < max(top + 1, 2) or len({*names}) < len(names):
            raise DataError(
                f"{plain(path)}: {column} has labels up to {top} in y_train and the classes {', '.join(names)}: "
                f"expected two or more classes with different names (classes_{column})."
            )
        class_names[column] = names
    return class_names


def column_labels(path: Path, key: str, y: Array) -> Tensor:
    """Return labels (N, K) int64, -1 where a sample has none, which -100 may mark too.

    Raises: DataError for another shape or dtype, or other negative numbers.
    """
    if y.ndim != 2 or y.dtype.kind not in "iu" or not len(y):
        raise DataError(
            f"{plain(path)}: {key} is {y.dtype} of shape {y.shape}: expected integers (N, K), one per name in "
            "`columns`."
        )
    labels = torch.from_numpy(y.astype(np.int64))
    valid = (labels >= 0) | (labels == MISSING) | (labels == IGNORE_INDEX)
    if not valid.all():
        raise DataError(
            f"{plain(path)}: {key} has the label {int(labels.min())}: expected labels from 0, or {MISSING} or "
            f"{IGNORE_INDEX} for a missing label."
        )
    return labels.clamp(min=MISSING)
