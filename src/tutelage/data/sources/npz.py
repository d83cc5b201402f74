"""Arrays in one .npz file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data import label_sets, map_arrays, modalities, multitask_targets
from tutelage.data.heatmaps import HeatmapOptions, keypoint_data
from tutelage.data.input_fields import FieldForm
from tutelage.data.listing import to_path
from tutelage.data.preparation import SourceData, multi_task_data, read_class_lists
from tutelage.data.single_precision import to_float32
from tutelage.data.splits import InMemorySplit
from tutelage.errors import DataError, plain
from tutelage.structures import Inputs

NAMES = {
    "npz:FILE": "arrays x_train, y_train (and x_val, y_val, x_test, y_test): images, rows, volumes; classes, "
    "label sets, values or maps"
}

SPLITS = ("train", "val", "test")

MOST_CLASSES = 1_000_000
"""The number of classes that labels may go up to."""

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.suffix == ".npz" and path.is_file()


def find(
    kind: str, where: str, size: tuple[int, int] | None, *, heatmaps: Mapping[str, Any] | None = None
) -> SourceData:
    """Load x and y of each split.

    x: images (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3, uint8 or floats in [0, 1]; table rows (N, F); volumes
    (N, C, D, H, W); or, with an array `modality` that names it ("series", "image" of any channels …), (N, C, …) of that
    modality, uint8 or floats of any scale; without C they have one channel.
    y: (N,) integers from 0, one class each; with `columns`, the names of K labels, (N, K), -1 or -100 for a missing
    label, and class names in classes_NAME; with `label_names`, (N, C) of 1, 0 and -1: the independent labels of each
    sample, -1 where it isn't known; floats (N,) or (N, T) are values to estimate, whose names `values` may give;
    with `point_names`, the places (N, K, 2) of points in pixels, NaN if they aren't visible; other
    floats (N, H, W) or (N, C, H, W) maps of values, NaN where they aren't known, whose channels' kinds `kinds` gives.
    With `inputs`, the names of several inputs of each sample: arrays NAME_train … in place of x_train, each with its
    modality in modality_NAME if its shape doesn't tell it; models get the first, unless they choose (student_inputs).
    groups_train …: (N,) integers; samples of one group must be in one split.
    """
    path = to_path(where)
    arrays = read_arrays(path)
    names = [str(name) for name in arrays["inputs"].flatten()] if "inputs" in arrays else ["x"]
    for key in (*(f"{name}_train" for name in names), "y_train"):
        if key not in arrays:
            raise DataError(
                f"{plain(path)}: no array {key!r}, only {', '.join(arrays) or 'none'}: save {names[0]}_train and "
                "y_train."
            )
    by_field = {name: _field(path, name, arrays) for name in names}
    modality, shape = _modality(names[0], arrays), tuple(by_field[names[0]]["train"].shape[1:])
    inputs = {split: _joined(by_field, split) for split in by_field[names[0]]}
    augment = ("shift" if shape[0] == 1 else "crop-flip") if modality == "image" else "none"
    if size is not None and modality != "image":
        raise DataError(f"{plain(path)}: size={size}: only images are resized, and this is {modality} data.")
    fields = {name: FieldForm(_modality(name, arrays), tuple(by_field[name]["train"].shape[2:])) for name in names}
    form: dict[str, Any] = {"size": size or shape[1:], "augment": augment}
    more: dict[str, Any] = {"modality": modality, "fields": fields if len(names) > 1 else {}}
    if label_sets.NAMES_KEY in arrays:
        labels = label_sets.read_names(path, arrays[label_sets.NAMES_KEY], np.atleast_2d(arrays["y_train"]).shape[1])
        targets = {s: label_sets.read_targets(path, *_targets(path, arrays, s), labels) for s in inputs}
        splits = _splits(path, arrays, inputs, targets)
        return SourceData("multi_label", labels, splits=splits, target="label set", **form, **more)
    if heatmaps is not None or "point_names" in arrays:
        return _points(path, arrays, inputs, HeatmapOptions.of(heatmaps), **form)
    if map_arrays.has_maps(arrays):
        found, targets = map_arrays.map_source(path, arrays, inputs, form, more)
        return replace(found, splits=_splits(path, arrays, inputs, targets))
    if "columns" not in arrays and (arrays["y_train"].dtype.kind == "f" or "values" in arrays):
        value_names = _value_names(path, arrays)
        targets = {s: _values(path, f"y_{s}", arrays, len(value_names)) for s in inputs}
        splits = _splits(path, arrays, inputs, targets)
        return SourceData("regression", (), splits=splits, target="values", value_names=value_names, **form, **more)
    by_column = multitask_targets.column_class_names(path, arrays) if "columns" in arrays else {}
    classes = () if by_column else class_names(path, arrays)
    sizes = [len(names) for names in by_column.values()] or [len(classes)]
    splits = _splits(path, arrays, inputs, {s: read_class_labels(path, arrays, s, sizes) for s in inputs})
    if by_column:
        return replace(multi_task_data(by_column, splits=splits, **form), **more)
    return SourceData("classification", classes, splits=splits, **form, **more)


def _points(
    path: Path,
    arrays: dict[str, Array],
    inputs: Mapping[str, Inputs],
    heatmaps: HeatmapOptions,
    size: tuple[int, ...],
    augment: str,
) -> SourceData:
    """Return the data of images with key points."""
    if "point_names" not in arrays:
        raise DataError(f"{plain(path)}: heatmaps is for points: save their names as point_names.")
    names, targets = map_arrays.read_points(path, arrays, inputs)
    return keypoint_data(names, _splits(path, arrays, inputs, targets), heatmaps, size, augment)


def _field(path: Path, name: str, arrays: dict[str, Array]) -> dict[str, Tensor]:
    """Return one input of each split.

    Raises: DataError if the splits' samples differ in shape.
    """
    modality = _modality(name, arrays)
    inputs = {
        s: _inputs(path, f"{name}_{s}", arrays[f"{name}_{s}"], modality, arrays)
        for s in SPLITS
        if f"{name}_{s}" in arrays
    }
    for split, x in inputs.items():
        if x.shape[1:] != inputs["train"].shape[1:]:
            raise DataError(
                f"{plain(path)}: samples of train are {tuple(inputs['train'].shape[1:])}, of {split} "
                f"{tuple(x.shape[1:])}: expected one shape."
            )
    return inputs


def _joined(by_field: Mapping[str, Mapping[str, Tensor]], split: str) -> Inputs:
    """Return a split's inputs: a tensor, or several by name.

    Raises: DataError if an input lacks the split, or has another number of samples.
    """
    inputs = {name: splits.get(split) for name, splits in by_field.items()}
    present = {name: x for name, x in inputs.items() if x is not None}
    lengths = {name: len(x) for name, x in present.items()}
    if len(present) < len(inputs) or len({*lengths.values()}) > 1:
        missing = ", ".join(f"{name}_{split}" for name in inputs if name not in present)
        raise DataError(
            f"npz: {f'there is no {missing}' if missing else f'{split} has {lengths} samples'}: expected all inputs of "
            "each sample."
        )
    return present if len(present) > 1 else next(iter(present.values()))


def _modality_key(name: str) -> str:
    """Return the name of the array that names an input's modality."""
    return "modality" if name == "x" else f"modality_{name}"


def _modality(name: str, arrays: dict[str, Array]) -> str:
    """Return the modality that the file names, or the one that the shape of an input tells.

    Raises: ConfigError for an unknown name.
    """
    if (key := _modality_key(name)) in arrays:
        return modalities.find(str(arrays[key])).name
    return {2: "table", 5: "volume"}.get(arrays[f"{name}_train"].ndim, "image")


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a file by name.

    Raises: DataError if it can't be read.
    """
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


def class_names(path: Path, arrays: dict[str, Array]) -> tuple[str, ...]:
    """Return the names in the array `classes` or in a classes.json in the same folder, else numbers."""
    count = int(read_labels(path, "y_train", arrays["y_train"]).max()) + 1
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


def read_labels(path: Path, key: str, y: Array) -> Tensor:
    """Return the classes (N,) in the array of that name.

    Raises: DataError for other numbers.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iu" or not len(y):
        raise DataError(
            f"{plain(path)}: {key} is {y.dtype} of shape {y.shape}: expected integers (N,), N at least 1; or (N, K) "
            "with an array `columns` that names the K labels of each sample."
        )
    if y.min() < 0 or y.max() >= MOST_CLASSES:
        wrong = y.min() if y.min() < 0 else y.max()
        raise DataError(f"{plain(path)}: {key} has the label {wrong}: expected labels from 0, below {MOST_CLASSES:,}.")
    return torch.from_numpy(y.astype(np.int64))


def read_class_labels(path: Path, arrays: dict[str, Array], split: str, sizes: list[int]) -> Tensor:
    """Return one split's labels; sizes: each label column's number of classes."""
    key = _target_key(path, arrays, split)
    y = (
        multitask_targets.column_labels(path, key, arrays[key])
        if "columns" in arrays
        else read_labels(path, key, arrays[key])
    )
    if y.dim() == 2 and y.shape[1] != len(sizes):
        raise DataError(f"{plain(path)}: {key} has {y.shape[1]} label columns, y_train {len(sizes)}: expected as many.")
    for top, classes in zip(y.view(len(y), -1).amax(0).tolist(), sizes, strict=True):
        if top >= classes:
            raise DataError(f"{plain(path)}: {key} has the label {top}, beyond the {classes} classes of train.")
    return y


def _target_key(path: Path, arrays: dict[str, Array], split: str) -> str:
    """Return the name of a split's targets."""
    if f"y_{split}" not in arrays:
        raise DataError(f"{plain(path)}: has x_{split} but no y_{split}: save both.")
    return f"y_{split}"


def _targets(path: Path, arrays: dict[str, Array], split: str) -> tuple[str, Array]:
    """Return the name of a split's targets, and these."""
    key = _target_key(path, arrays, split)
    return key, arrays[key]


def _value_names(path: Path, arrays: dict[str, Array]) -> tuple[str, ...]:
    """Return the names of the values to estimate."""
    y = arrays["y_train"]
    count = y.shape[1] if y.ndim == 2 else 1
    if "values" not in arrays:
        return ("y",) if count == 1 else tuple(f"y{number}" for number in range(count))
    names = tuple(map(str, arrays["values"].flatten()))
    if len(names) != count or len({*names}) < count:
        raise DataError(f"{plain(path)}: values names {names}, and y_train has {count}: expected a name for each.")
    return names


def _values(path: Path, key: str, arrays: dict[str, Array], count: int) -> Tensor:
    """Return one split's values to estimate, (N, T) float64."""
    _target_key(path, arrays, key.removeprefix("y_"))
    y = arrays[key].reshape(len(arrays[key]), -1) if arrays[key].ndim in (1, 2) else arrays[key]
    if y.ndim != 2 or y.shape[1] != count or y.dtype.kind not in "iuf":
        raise DataError(f"{plain(path)}: {key} is {y.dtype} of shape {y.shape}: expected numbers (N, {count}).")
    if not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y).all(1))[0])
        raise DataError(f"{plain(path)}: {key}, row {row}, is {y[row].tolist()}: expected finite numbers.")
    return torch.from_numpy(y.astype(np.float64))


def _splits(
    path: Path, arrays: dict[str, Array], inputs: Mapping[str, Inputs], targets: Mapping[str, Tensor]
) -> dict[str, InMemorySplit]:
    """Return the splits, with their groups if there are any."""
    splits = {}
    for split, x in inputs.items():
        y, groups = targets[split], arrays.get(f"groups_{split}")
        count = len(x) if isinstance(x, Tensor) else len(next(iter(x.values())))
        if count != len(y):
            raise DataError(
                f"{plain(path)}: {count} samples in x_{split}, {len(y)} targets in y_{split}: expected as many."
            )
        if groups is not None and (groups.shape != (count,) or groups.dtype.kind not in "iu"):
            raise DataError(f"{plain(path)}: groups_{split} is {groups.dtype} {groups.shape}: expected integers (N,).")
        numbers = None if groups is None else torch.from_numpy(groups.astype(np.int64))
        splits[split] = InMemorySplit(x, y, groups=numbers)
    return splits


def _inputs(path: Path, key: str, x: Array, modality: str, arrays: dict[str, Array]) -> Tensor:
    """Convert inputs to (N, C, …), uint8 or float32."""
    name = key.rpartition("_")[0]
    if modality == "image" and _modality_key(name) not in arrays:
        return _images(path, key, x)
    dimensions = 2 + modalities.find(modality).positions
    x = x[:, None] if x.ndim == dimensions - 1 > 1 else x
    if x.ndim != dimensions or 0 in x.shape:
        form = ", ".join("NCDHW"[:dimensions] if modality != "series" else "NCT")
        raise DataError(f"{plain(path)}: {key} has shape {x.shape}: expected ({form}) for {modality} data.")
    x = x.astype(np.uint8) if x.dtype.kind == "b" else x
    if x.dtype.kind not in "iuf":
        raise DataError(f"{plain(path)}: {key} is {x.dtype}: expected numbers.")
    is_bytes = x.dtype == np.uint8 and modality != "table"
    x = x if is_bytes else to_float32(x)
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(1))[0])
        raise DataError(f"{plain(path)}: {key}, row {row}, has NaN, infinite or too large values: replace them.")
    return torch.from_numpy(np.ascontiguousarray(x))


def _images(path: Path, key: str, x: Array) -> Tensor:
    """Convert images to (N, C, H, W), uint8 or float32."""
    if x.ndim == 3:
        x = x[:, None]
    first, last = x.ndim == 4 and x.shape[1] in (1, 3), x.ndim == 4 and x.shape[3] in (1, 3)
    if first == last or 0 in x.shape:
        raise DataError(
            f"{plain(path)}: {key} has shape {x.shape}: expected (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3; "
            'for other channels (N, C, H, W) and an array modality="image".'
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
