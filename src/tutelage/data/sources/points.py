"""Point clouds: files in folders by class or beside a CSV file, and arrays of grids or points in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from tutelage.data.cloud_files import READERS, CloudFiles, Clouds, HeldClouds, Table, check_points, read_cloud
from tutelage.data.cloud_split import CloudSplit
from tutelage.data.clouds import CloudForm
from tutelage.data.column_names import refuse_wrong_columns
from tutelage.data.copies import check_copies, digest, find_copies
from tutelage.data.file_rows import row_targets, rows_by_folder
from tutelage.data.grouping import group_numbers
from tutelage.data.input_fields import FieldForm
from tutelage.data.items import UNLABELLED
from tutelage.data.labelled_images import Rows
from tutelage.data.listing import list_files, summarise, to_path
from tutelage.data.preparation import SourceData
from tutelage.data.sources import npz
from tutelage.errors import ConfigError, DataError, plain
from tutelage.utils.options import check_options

NAMES = {
    "points:PATH": "point clouds (npy, xyz, off, ply) in a folder per class or beside a CSV file, or a .npz of grids; "
    "reading={points: …}",
    "clouds:PATH": "point clouds without labels, in folders of any depth; reading={points: …}",
}

HELD = 2**27
"""The most numbers that are held in memory: half a gigabyte."""

Left = Literal["empty", "copies"]
"""Clouds that can be left out."""


@dataclass(frozen=True)
class CloudReading:
    """The options of `reading`.

    form: the form of the samples. leave_out: "empty", clouds without points; "copies", further clouds with the points
    of another one, of which that in test is kept, or else that in val, or else the first.
    """

    form: CloudForm
    leave_out: frozenset[str]


@dataclass(frozen=True)
class CloudTable:
    """All clouds of the data: their points, names, targets and splits; fault: makes the error for one of them."""

    form: SourceData
    clouds: Clouds
    names: Sequence[str]
    splits: Mapping[str, Tensor]
    fault: Callable[[int, str], DataError]
    labels: Tensor | None = None
    targets: Tensor | None = None
    groups: Tensor | None = None


def reading_options(
    name: str,
    points: Annotated[int, Field(ge=4, le=100_000)] = CloudForm.points,
    normalise: bool = True,
    up: Literal["x", "y", "z"] = "z",
    grid: Annotated[int, Field(ge=4, le=128)] | None = None,
    visible: Annotated[int, Field(ge=4, le=256)] | None = None,
    leave_out: Sequence[Left] = (),
) -> CloudReading:
    """Return the options of `reading`."""
    return CloudReading(CloudForm(points, normalise, up, grid, visible), frozenset(leave_out))


def find(
    kind: str,
    where: str,
    size: tuple[int, int] | None,
    *,
    target: str | Sequence[str] = (),
    group: str | None = None,
    drop: Sequence[str] = (),
    task: str | None = None,
    reading: Mapping[str, Any] | None = None,
) -> SourceData:
    """Read the clouds, with their classes, label sets or, for a regression, values; `clouds:` has none.

    A folder has a folder for each class, in train/, val/ and test/ if the data is split. A CSV file has a column `file`
    and, if the data is split, `split`. A .npz has x_train, y_train …: grids (N, D, H, W), whose cells above 0 become
    points, or points (N, P, C), of which rows of zeros alone are no points.
    """
    name = f"data {kind}:{plain(where)}"
    if size is not None:
        raise ConfigError(f"{name}: size={size}: clouds have a number of points: set reading={{points: …}}.")
    check_options(f"{name}: reading", reading_options, reading or {})
    options, path = reading_options(name, **(reading or {})), to_path(where)
    targets = (target,) if isinstance(target, str) else tuple(target)
    if path.suffix == ".npz" and (targets or group or drop):
        raise ConfigError(f"{name}: target, group and drop are columns of a CSV file: remove them.")
    if path.suffix == ".npz":
        table = _from_arrays(path, kind == "points")
    elif kind == "clouds":
        table = _without_labels(name, path)
    else:
        table = _from_rows(name, _rows(path), targets, group, drop, task)
    return _as_source(name, table, options)


def _as_source(name: str, table: CloudTable, options: CloudReading) -> SourceData:
    """Return the data of clouds, after a look at each.

    Raises: DataError for clouds without points, of other columns than the first, or with the points of another one.
    """
    digests, empty = _examine(table)
    if empty and "empty" not in options.leave_out:
        raise table.fault(
            empty[0],
            f"has no points, as {len(empty)} cloud(s) of {len(table.clouds):,}: remove them, or leave them out by "
            "reading={leave_out: [empty]}.",
        )
    notes = []
    kept = _without(table.splits, {*empty})
    if empty:
        first = summarise([table.names[number] for number in empty], 3)
        notes.append(f"{name}: {len(empty)} cloud(s) without points are left out: {first}.")
    if "copies" in options.leave_out and (copies := _later_copies(digests, kept)):
        kept = _without(kept, copies)
        notes.append(f"{name}: {len(copies)} copies of other clouds are left out.")
    targets = table.labels if table.targets is None else table.targets
    if targets is not None:
        mend = "keep one, or set reading={leave_out: [copies]}"
        notes += check_copies(name, "cloud", "points", table.names, digests, targets, kept, table.fault, mend)
    fields = _fields(options.form)
    more: dict[str, Any] = {"labels": table.labels, "targets": table.targets, "groups": table.groups}
    placed = table.clouds.changed(options.form.placed)
    splits = {split: CloudSplit(placed, digests, options.form, rows, **more) for split, rows in kept.items()}
    return replace(
        table.form,
        size=(options.form.points,),
        augment="subsample",
        splits=splits,
        notes=notes,
        fields=fields if len(fields) > 1 else {},
    )


def _examine(table: CloudTable) -> tuple[list[bytes], list[int]]:
    """Return the sha256 of each cloud, and the clouds without points.

    Raises: DataError for a cloud of other columns than the first.
    """
    digests, empty, columns = [], [], 0
    for number, cloud in enumerate(table.clouds):
        digests.append(digest(cloud))
        if not len(cloud):
            empty.append(number)
            continue
        columns = columns or cloud.shape[1]
        if cloud.shape[1] != columns:
            raise table.fault(number, f"has {cloud.shape[1]} columns, and the clouds before it {columns}.")
    return digests, empty


def _fields(form: CloudForm) -> dict[str, FieldForm]:
    """Return the form of each input."""
    fields = {"points": FieldForm("points", (form.points,))}
    if form.grid is not None:
        fields["grid"] = FieldForm("volume", (form.grid,) * 3)
    if form.visible is not None:
        fields["visible"] = FieldForm("points", (form.points,))
    return fields


def _without(splits: Mapping[str, Tensor], numbers: set[int]) -> dict[str, Tensor]:
    """Return the splits without some clouds.

    Raises: DataError if train has none left.
    """
    left = {split: torch.tensor([n for n in rows.tolist() if n not in numbers]) for split, rows in splits.items()}
    if not len(left["train"]):
        raise DataError("train has no cloud with points: expected some.")
    return {split: rows.long() for split, rows in left.items() if len(rows)}


def _later_copies(digests: Sequence[bytes], splits: Mapping[str, Tensor]) -> set[int]:
    """Return the clouds with the points of one that comes before them, in the order of test, val and train."""
    order = [n for split in ("test", "val", "train") if split in splits for n in splits[split].tolist()]
    return {order[row] for _, row in find_copies([digests[n] for n in order])}


def _rows(path: Path) -> Rows:
    """Return a row for each cloud.

    Raises: DataError if there are none.
    """
    return Rows.read(path) if path.is_file() else rows_by_folder(path, _files(path))


def _files(path: Path) -> list[Path]:
    """Return the files of clouds in a folder.

    Raises: DataError if there are none.
    """
    files = sorted(list_files(path, READERS).paths) if path.is_dir() else []
    if not files:
        raise DataError(
            f"{plain(path)}: has no point clouds: expected a folder of {', '.join(sorted(READERS))} files, a CSV file "
            "with a column file, or a .npz with x_train and y_train."
        )
    return files


def _held(paths: Sequence[Path]) -> Clouds:
    """Return the clouds in these files, in memory unless they are too many."""
    total, clouds = 0, HeldClouds()
    for path in paths:
        clouds.append(read_cloud(path))
        total += clouds[-1].numel()
        if total > HELD:
            return CloudFiles(paths)
    return clouds


def _from_rows(
    name: str, rows: Rows, targets: Sequence[str], group: str | None, drop: Sequence[str], task: str | None
) -> CloudTable:
    """Return the clouds in the files that rows name."""
    refuse_wrong_columns(name, [*targets, *drop, *([group] if group else [])], rows.header)
    form, labels, floats = row_targets(name, rows, targets, task, {*drop, group}, "points")
    clouds = _held(rows.files(READERS, "point cloud"))
    groups = None if group is None else group_numbers(rows.filled_column(group))
    names = [plain(cell) for cell in rows.column(rows.file_column)]
    return CloudTable(form, clouds, names, rows.splits(), rows.fault, labels, floats, groups)


def _without_labels(name: str, path: Path) -> CloudTable:
    """Return all clouds in a folder, in train."""
    files = _files(path)
    names = [plain(file) for file in files]
    form = SourceData(UNLABELLED, (), (), "none", {}, modality="points", target="none")
    return CloudTable(form, _held(files), names, {"train": torch.arange(len(files))}, _fault_by(names))


def _fault_by(names: Sequence[str]) -> Callable[[int, str], DataError]:
    """Return the function that makes the error for a cloud."""
    return lambda number, text: DataError(f"{names[number]}: {text}")


def _from_arrays(path: Path, labelled: bool) -> CloudTable:
    """Return the clouds in a .npz, with their classes if they are wanted.

    Raises: DataError for arrays of other shapes, or a class that no training cloud has.
    """
    arrays = npz.read_arrays(path)
    if "x_train" not in arrays or (labelled and "y_train" not in arrays):
        raise DataError(f"{plain(path)}: has {', '.join(arrays) or 'no arrays'}: expected x_train and y_train.")
    clouds = HeldClouds()
    names, splits = [], {}
    for split in (split for split in npz.SPLITS if f"x_{split}" in arrays):
        found = _clouds_of(f"{plain(path)}, x_{split}", arrays[f"x_{split}"])
        splits[split] = torch.arange(len(clouds), len(clouds) + len(found))
        names += [f"{plain(path)}, x_{split}[{number}]" for number in range(len(found))]
        clouds += found
    form = SourceData(UNLABELLED, (), (), "none", {}, modality="points", target="none")
    if not labelled:
        return CloudTable(form, clouds, names, splits, _fault_by(names))
    labels, classes = _classes(path, arrays, splits)
    form = replace(form, task="classification", classes=classes, target="label")
    return CloudTable(form, clouds, names, splits, _fault_by(names), labels)


def _classes(path: Path, arrays: dict[str, npz.Array], splits: Mapping[str, Tensor]) -> tuple[Tensor, tuple[str, ...]]:
    """Return the class of each cloud, and the classes' names."""
    train = npz.read_labels(path, "y_train", arrays["y_train"])
    classes = npz.class_names(path, arrays)
    parts = []
    for split, rows in splits.items():
        labels = npz.read_class_labels(path, arrays, split, [len(classes)])
        if len(labels) != len(rows):
            raise DataError(f"{plain(path)}: {len(rows)} samples in x_{split}, {len(labels)} labels in y_{split}.")
        if absent := sorted({*labels.tolist()} - {*train.tolist()}):
            raise DataError(f"{plain(path)}: y_{split} has the class {classes[absent[0]]}, and no cloud of train has.")
        parts.append(labels)
    return torch.cat(parts), classes


def _clouds_of(name: str, x: npz.Array) -> list[Tensor]:
    """Return the clouds in an array of grids or of points."""
    if x.ndim not in (3, 4) or x.dtype.kind not in "biuf" or (x.ndim == 3 and x.shape[2] < 3):
        raise DataError(
            f"{name} is {x.dtype} of shape {x.shape}: expected grids (N, D, H, W), or points (N, P, 3 or more)."
        )
    clouds = []
    for number, sample in enumerate(x):
        cells = np.argwhere(sample > 0) if x.ndim == 4 else sample[(sample != 0).any(1)]
        points: Table = cells.astype(np.float32)
        check_points(f"{name}[{number}]", points)
        clouds.append(torch.from_numpy(np.ascontiguousarray(points)))
    return clouds
