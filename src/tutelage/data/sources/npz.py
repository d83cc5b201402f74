"""Arrays in one .npz file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tutelage.data import modalities, multitask_targets
from tutelage.data.listing import to_path
from tutelage.data.preparation import SourceData, multi_task_data, read_class_lists
from tutelage.data.splits import InMemorySplit
from tutelage.errors import ConfigError, DataError, plain, unknown

NAMES = {
    "npz:FILE": "arrays x_train, y_train (and x_val, y_val, x_test, y_test): images, series, voxels or rows; `classes` "
    "there or in classes.json"
}

SPLITS = ("train", "val", "test")

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.suffix == ".npz" and path.is_file()


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load x, and y (N,) integers from 0.

    x are images (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floats in [0, 1]; voxels (N, C, D, H, W) or rows of a
    table (N, C) of any numbers; or what the array `modality` names: with "series" they are (N, C, T) or (N, T).
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
    modality = _modality(path, arrays)
    splits = {s: _split(path, arrays, s, sizes, modality) for s in SPLITS if f"x_{s}" in arrays}
    shape = splits["train"].inputs.shape[1:]
    for split, samples in splits.items():
        if samples.inputs.shape[1:] != shape:
            raise DataError(
                f"{plain(path)}: samples of train are {tuple(shape)}, of {split} {tuple(samples.inputs.shape[1:])}: "
                "expected one shape."
            )
    if size is not None and modality != "image":
        raise ConfigError(f"data npz:{plain(path)}: size={size}: only images are resized, and this is {modality} data.")
    augment = ("shift" if shape[0] == 1 else "crop-flip") if modality == "image" else "none"
    data = (
        multi_task_data(class_names, size or tuple(shape[1:]), augment, splits)
        if class_names
        else SourceData("classification", classes, size or tuple(shape[1:]), augment, splits)
    )
    return replace(data, modality=modality)


def _modality(path: Path, arrays: dict[str, Array]) -> str:
    """Return the kind of inputs: that of the array `modality`, or else the one that suits the dimensions of x_train."""
    if "modality" not in arrays:
        return {2: "table", 5: "volume"}.get(arrays["x_train"].ndim, "image")
    name = str(arrays["modality"])
    if name not in modalities.modalities():
        raise DataError(f"{plain(path)}: {unknown('modality', name, modalities.modalities())}")
    return name


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


def _split(path: Path, arrays: dict[str, Array], split: str, sizes: list[int], modality: str) -> InMemorySplit:
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
        raise DataError(f"{plain(path)}: {len(x)} inputs in x_{split}, {len(y)} labels in y_{split}: expected as many.")
    if y.dim() == 2 and y.shape[1] != len(sizes):
        raise DataError(f"{plain(path)}: {key} has {y.shape[1]} label columns, y_train {len(sizes)}: expected as many.")
    for top, classes in zip(y.view(len(y), -1).amax(0).tolist(), sizes, strict=True):
        if top >= classes:
            raise DataError(f"{plain(path)}: {key} has the label {top}, beyond the {classes} classes of train.")
    if modality == "image":
        return InMemorySplit(_images(path, f"x_{split}", x), y)
    return InMemorySplit(_numbers(path, f"x_{split}", x, modality), y)


def _numbers(path: Path, key: str, x: Array, modality: str) -> torch.Tensor:
    """Convert inputs that aren't images to (N, C, …), uint8 or float32; a missing dimension of channels is added."""
    dimensions = modalities.find(modality).positions + 2
    if x.ndim == dimensions - 1 > 1:
        x = x[:, None]
    if x.ndim != dimensions or 0 in x.shape:
        raise DataError(
            f"{plain(path)}: {key} has shape {x.shape}: expected {dimensions} dimensions for {modality} data, samples "
            "and channels first."
        )
    if x.dtype.kind not in "biuf":
        raise DataError(f"{plain(path)}: {key} is {x.dtype}: expected numbers.")
    if not np.isfinite(x).all():
        raise DataError(f"{plain(path)}: {key} has NaN or infinite values: replace them.")
    return torch.from_numpy(np.ascontiguousarray(x.astype(np.uint8 if x.dtype.kind == "b" else np.float32)))


def _images(path: Path, key: str, x: Array) -> torch.Tensor:
    """Convert images to (N, C, H, W), uint8 or float32."""
    if x.ndim == 3:
        x = x[:, None]
    first, last = x.ndim == 4 and x.shape[1] in (1, 3), x.ndim == 4 and x.shape[3] in (1, 3)
    if x.ndim == 4 and not first and not last:  # many channels: fewer than the image is high or wide
        first, last = x.shape[1] < min(x.shape[2:]), x.shape[3] < min(x.shape[1:3])
    if first == last or 0 in x.shape:
        raise DataError(
            f"{plain(path)}: {key} has shape {x.shape}: expected images (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 "
            "or 3, or less than H and W; for other inputs save an array `modality`: series, volume or table."
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
