"""Arrays in one .npz file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tutelage.data import multitask_targets
from tutelage.data.listing import to_path
from tutelage.data.preparation import SourceData, multi_task_data, read_class_lists
from tutelage.data.splits import InMemorySplit
from tutelage.errors import DataError, plain

NAMES = {"npz:FILE": "arrays x_train, y_train (and x_val, y_val, x_test, y_test); `classes` there or in classes.json"}

SPLITS = ("train", "val", "test")

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.suffix == ".npz" and path.is_file()


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load x (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floats in [0, 1], and y (N,) integers from 0.

    With `columns`, the names of K labels: y (N, K), -1 or -100 for a missing label, and class names in classes_NAME.
    """
    path = to_path(where)
    arrays = _arrays(path)
    for key in ("x_train", "y_train"):
        if key not in arrays:
            raise DataError(
                f"{plain(path)}: no array {key!r}, only {', '.join(arrays) or 'none'}: save x_train and y_train."
            )
    class_names = multitask_targets.column_class_names(path, arrays) if "columns" in arrays else {}
    classes = () if class_names else _classes(path, arrays, int(_labels(path, "y_train", arrays["y_train"]).max()) + 1)
    sizes = [len(names) for names in class_names.values()] or [len(classes)]
    splits = {s: _split(path, arrays, s, sizes) for s in SPLITS if f"x_{s}" in arrays}
    shape = splits["train"].inputs.shape[1:]
    for split, samples in splits.items():
        if samples.inputs.shape[1:] != shape:
            raise DataError(
                f"{plain(path)}: images of train are {tuple(shape)}, of {split} {tuple(samples.inputs.shape[1:])}: "
                "expected one shape."
            )
    augment = "shift" if shape[0] == 1 else "crop-flip"
    size = size or (shape[1], shape[2])
    return (
        multi_task_data(class_names, size, augment, splits)
        if class_names
        else SourceData("classification", classes, size, augment, splits)
    )


def _arrays(path: Path) -> dict[str, Array]:
    if not path.is_file():
        reason = "no file" if path.exists() else "no such file"
        raise DataError(f"{plain(path)}: {reason}; expected a .npz with x_train, y_train, x_test, y_test.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except Exception as error:  # on a broken file numpy raises almost anything
        raise DataError(
            f"{plain(path)}: can't be read as a .npz of plain arrays ({plain(error)}); save it with numpy.savez, "
            "without objects."
        ) from error


def _classes(path: Path, arrays: dict[str, Array], count: int) -> tuple[str, ...]:
    """Return the names in the array `classes` or in a classes.json in the same folder, else numbers."""
    json_file = path.with_name("classes.json")
    names: list[str] = [str(i) for i in range(count)]
    if "classes" in arrays:
        names = [str(name) for name in arrays["classes"]]
    elif json_file.is_file():
        lists = read_class_lists(json_file)
        names = next((names for names in lists if len(names) == count), lists[0])
    if len(names) < count:
        raise DataError(f"{plain(path)}: y_train has labels up to {count - 1}, but {len(names)} classes are named.")
    return tuple(names)


def _labels(path: Path, key: str, y: Array) -> torch.Tensor:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iu" or not len(y):
        raise DataError(
            f"{plain(path)}: {key} is {y.dtype} of shape {y.shape}: expected integers (N,), N at least 1; or (N, K) "
            "with an array `columns` that names the K labels of each sample."
        )
    if y.min() < 0:
        raise DataError(f"{plain(path)}: {key} has the label {y.min()}: expected labels from 0.")
    return torch.from_numpy(y.astype(np.int64))


def _split(path: Path, arrays: dict[str, Array], split: str, sizes: list[int]) -> InMemorySplit:
    """Return one split's arrays; sizes: each label column's number of classes."""
    if f"y_{split}" not in arrays:
        raise DataError(f"{plain(path)}: has x_{split} but no y_{split}: save both.")
    x, key = arrays[f"x_{split}"], f"y_{split}"
    y = (
        multitask_targets.column_labels(path, key, arrays[key])
        if "columns" in arrays
        else _labels(path, key, arrays[key])
    )
    if len(x) != len(y):
        raise DataError(f"{plain(path)}: {len(x)} images in x_{split}, {len(y)} labels in y_{split}: expected as many.")
    if y.dim() == 2 and y.shape[1] != len(sizes):
        raise DataError(f"{plain(path)}: {key} has {y.shape[1]} label columns, y_train {len(sizes)}: expected as many.")
    for top, classes in zip(y.view(len(y), -1).amax(0).tolist(), sizes, strict=True):
        if top >= classes:
            raise DataError(f"{plain(path)}: {key} has the label {top}, beyond the {classes} classes of train.")
    return InMemorySplit(_images(path, f"x_{split}", x), y)


def _images(path: Path, key: str, x: Array) -> torch.Tensor:
    """Convert images to (N, C, H, W), uint8 or float32."""
    if x.ndim == 3:
        x = x[:, None]
    first, last = x.ndim == 4 and x.shape[1] in (1, 3), x.ndim == 4 and x.shape[3] in (1, 3)
    if first == last or 0 in x.shape:
        raise DataError(
            f"{plain(path)}: {key} has shape {x.shape}: expected (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3."
        )
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DataError(f"{plain(path)}: {key} is {x.dtype}: expected uint8, or floats in [0, 1].")
    if x.dtype.kind == "f":
        if not np.isfinite(x).all():
            raise DataError(f"{plain(path)}: {key} has NaN or infinite pixels: replace them.")
        if x.min() < 0 or x.max() > 1:
            raise DataError(
                f"{plain(path)}: {key} has pixels from {x.min()} to {x.max()}: scale them to [0, 1], or save uint8."
            )
        x = x.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(x if first else x.transpose(0, 3, 1, 2)))
