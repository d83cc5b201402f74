"""Maps of values in the arrays of a .npz file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data.map_targets import IMAGES, KINDS, MapForm
from tutelage.data.preparation import SourceData, restored
from tutelage.data.single_precision import to_float32
from tutelage.errors import DataError, plain
from tutelage.structures import Inputs

Arrays = Mapping[str, Any]


def has_maps(arrays: Arrays) -> bool:
    """Return whether the targets are maps: floats (N, H, W) or (N, C, H, W)."""
    return "columns" not in arrays and arrays["y_train"].dtype.kind == "f" and arrays["y_train"].ndim in (3, 4)


def map_source(
    path: Path, arrays: Arrays, inputs: Mapping[str, Inputs], form: Mapping[str, Any], more: Mapping[str, Any]
) -> tuple[SourceData, dict[str, Tensor]]:
    """Return the data without its splits, and each split's maps (N, C, h, w).

    form, more: fields of the SourceData.
    Raises: DataError for arrays that don't fit.
    """
    targets = {split: _maps(path, f"y_{split}", arrays) for split in inputs}
    channels = targets["train"].shape[1]
    names, kinds = _channels(path, arrays, channels)
    task = _task(names, kinds)
    for split, y in targets.items():
        known = y[~y.isnan()]
        if not len(known) or (task == "depth" and known.max() <= 0):
            what = "above 0, as distances are" if len(known) else "known"
            raise DataError(f"{plain(path)}: y_{split} has no value that is {what}: is it the right array?")
    found = SourceData(task, (), splits={}, target="map", value_names=names, map_form=MapForm(kinds), **form, **more)
    if task == "restoration":
        low, high = (float(f(targets["train"][~targets["train"].isnan()])) for f in (torch.min, torch.max))
        if low < 0 or high > 1:
            raise DataError(f"{plain(path)}: y_train has pixels from {low:g} to {high:g}: expected them in [0, 1].")
        x = inputs["train"]
        return restored(found, x.shape[1] if isinstance(x, Tensor) else len(names)), targets
    return found, targets


def read_points(path: Path, arrays: Arrays, inputs: Mapping[str, Inputs]) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Return the names of key points, and each split's, (N, K·2), as fractions of the images' width and height.

    Raises: DataError for arrays of another form, or points outside of the images.
    """
    names, targets = tuple(map(str, np.atleast_1d(arrays["point_names"]))), {}
    _refuse_repeated(path, "point_names", names)
    for split, x in inputs.items():
        y = arrays.get(f"y_{split}")
        if not isinstance(x, Tensor) or x.dim() != 4 or y is None or y.dtype.kind not in "iuf" or y.shape[1:] != (
            len(names), 2
        ):  # fmt: skip
            shape = None if y is None else y.shape
            raise DataError(
                f"{plain(path)}: y_{split} is {shape}: expected one place x, y for each of {len(names)} points of "
                f"images, (N, {len(names)}, 2)."
            )
        high, wide = x.shape[2:]
        shares = (y.astype(np.float64) + 0.5) / [wide, high]
        if (outside := (shares < 0) | (shares > 1)).any():
            row, point = (int(numbers[0]) for numbers in np.nonzero(outside.any(2)))
            raise DataError(
                f"{plain(path)}: y_{split}, row {row}: {names[point]} is at {y[row, point].tolist()}, outside of the "
                f"image of {wide}×{high}: expected pixels, or NaN if it isn't visible."
            )
        unknown = np.isnan(shares)
        if (half := unknown.any(2) & ~unknown.all(2)).any():
            row, point = (int(numbers[0]) for numbers in np.nonzero(half))
            raise DataError(
                f"{plain(path)}: y_{split}, row {row}: {names[point]} is at {y[row, point].tolist()}: expected two "
                "numbers, or NaN twice if it isn't visible."
            )
        targets[split] = torch.from_numpy(shares.astype(np.float32)).flatten(1)
    return names, targets


def _maps(path: Path, key: str, arrays: Arrays) -> Tensor:
    if key not in arrays:
        raise DataError(f"{plain(path)}: has x_{key[2:]} but no {key}: save both.")
    y, like = arrays[key], arrays["y_train"]
    y = y[:, None] if y.ndim == 3 else y
    channels = 1 if like.ndim == 3 else like.shape[1]
    if y.ndim != 4 or y.shape[1] != channels or 0 in y.shape or y.dtype.kind not in "iuf":
        raise DataError(
            f"{plain(path)}: {key} is {y.dtype} of shape {arrays[key].shape}: expected numbers (N, {channels}, H, W)."
        )
    single = to_float32(y)
    if np.isinf(single).any():
        row = int(np.flatnonzero(np.isinf(single).reshape(len(y), -1).any(1))[0])
        raise DataError(
            f"{plain(path)}: {key}, row {row}, has infinite or too large values: expected NaN where it isn't known."
        )
    return torch.from_numpy(np.ascontiguousarray(single))


def _channels(path: Path, arrays: Arrays, channels: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names and kinds of the channels."""
    kinds = tuple(map(str, np.atleast_1d(arrays["kinds"]))) if "kinds" in arrays else ("value",) * channels
    default = kinds if len({*kinds}) == channels > 1 else tuple(f"y{k}" for k in range(channels))
    names = tuple(map(str, np.atleast_1d(arrays["values"]))) if "values" in arrays else default
    _refuse_repeated(path, "values", names)
    for key, found, known in (("kinds", kinds, KINDS), ("values", names, names)):
        if len(found) != channels or any(x not in known for x in found):
            some = f" of {', '.join(KINDS)}" if key == "kinds" else ""
            raise DataError(
                f"{plain(path)}: {key} is {list(found)}: expected one{some} for each of {channels} channels."
            )
    return names, kinds


def _refuse_repeated(path: Path, key: str, names: Sequence[str]) -> None:
    if len({*names}) < len(names):
        raise DataError(f"{plain(path)}: {key} is {list(names)}: expected each name once.")


def _task(names: Sequence[str], kinds: tuple[str, ...]) -> str:
    """Return the task that such channels suggest."""
    if tuple(names) in IMAGES:
        return "restoration"
    return "flow" if kinds == ("x", "y") else "density" if {*kinds} == {"mass"} else "depth"
