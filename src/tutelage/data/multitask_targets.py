"""Targets of several label columns: their arrays, checked; each column's logits, and the samples that have a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import DataError, plain
from tutelage.losses.base import IGNORED

MISSING = -1
"""The label of a sample that has none in a column; in targets any number below 0 says so."""


def spans(sizes: Sequence[int]) -> list[slice]:
    """Where each column's logits lie in a response, from how many classes the columns have."""
    return [slice(end - size, end) for end, size in zip(accumulate(sizes), sizes, strict=True)]


def by_label(response: Tensor, targets: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Each column's logits and targets, of the samples that have a label there; all as they are without columns."""
    if not sizes:
        return [(response, targets)]
    pairs = zip(spans(sizes), targets.unbind(1), strict=True)
    return [(response[truth >= 0, span], truth[truth >= 0]) for span, truth in pairs]


Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


def named(path: Path, arrays: Mapping[str, Array]) -> dict[str, tuple[str, ...]]:
    """The class names of each label column: `columns` names these; `classes_NAME` its classes, else they are numbers.

    Raises: DataError if names are missing, come twice, or are fewer than the classes of y_train.
    """
    columns, y = [str(name) for name in np.atleast_1d(arrays["columns"])], labels(path, "y_train", arrays["y_train"])
    if y.shape[1] != len(columns) or len({*columns}) < len(columns) or len(columns) < 2:
        raise DataError(
            f"{plain(path)}: columns names {', '.join(columns)}, and y_train has {y.shape[1]} label columns: "
            "expected a name for each of two or more, each once."
        )
    found = {}
    for column, top in zip(columns, y.amax(0).tolist(), strict=True):
        names = tuple(str(name) for name in arrays.get(f"classes_{column}", np.arange(top + 1)))
        if len(names) < max(top + 1, 2) or len({*names}) < len(names):
            raise DataError(
                f"{plain(path)}: {column} has labels up to {top} in y_train and the classes {', '.join(names)}: "
                f"expected two or more, a name for each (classes_{column}), each once."
            )
        found[column] = names
    return found


def labels(path: Path, key: str, y: Array) -> Tensor:
    """(N, K) int64, -1 where a sample has no label, which may be said by -100 too."""
    if y.ndim != 2 or y.dtype.kind not in "iu" or not len(y):
        raise DataError(
            f"{plain(path)}: {key} is {y.dtype} of shape {y.shape}: expected integers (N, K), as `columns` says."
        )
    found = torch.from_numpy(y.astype(np.int64))
    known = (found >= 0) | (found == MISSING) | (found == IGNORED)
    if not known.all():
        raise DataError(
            f"{plain(path)}: {key} has the label {int(found.min())}: expected labels from 0, and {MISSING} or "
            f"{IGNORED} for none."
        )
    return found.clamp(min=MISSING)
