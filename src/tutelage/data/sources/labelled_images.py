"""Images with a CSV file that names each one's class, labels or values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from tutelage.data.column_names import refuse_wrong_columns
from tutelage.data.decode import read_headers
from tutelage.data.grouping import group_numbers
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.labelled_images import LIST_COLUMNS, Rows
from tutelage.data.listing import to_path
from tutelage.data.preparation import SourceData
from tutelage.data.sources.folder import PHOTO, SMALL
from tutelage.errors import DataError, plain

NAMES = {"labelled-images:CSV": "images beside a CSV file: file, and label, labels (a;b), 0/1 columns or target="}


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.suffix == ".csv" and path.is_file()


def find(
    kind: str,
    where: str,
    size: tuple[int, int] | None,
    *,
    target: str | Sequence[str] = (),
    group: str | None = None,
    drop: Sequence[str] = (),
) -> SourceData:
    """Load the images: their classes, label sets or, with `target`, values.

    The column `file` names each one's image, beside the CSV file or in `images`; a column `split` (train, val, test),
    its split. The other columns, but those of `group` and `drop`, are: one of classes; one called `labels`, of lists
    joined by ";"; or one for each label, of 1, 0 and nothing. Up to 64 pixels the images are held in memory.
    """
    path = to_path(where)
    every_row = Rows.read(path)
    targets = (target,) if isinstance(target, str) else tuple(target)
    name, named = f"data {kind}:{plain(path)}", [*targets, *drop, *([group] if group else [])]
    refuse_wrong_columns(name, named, every_row.header)
    rows = every_row.without(drop)
    others = [name for name in rows.header if name not in (rows.file_column, "split", group)]
    form, labels, floats = _targets(rows, targets, others)
    paths = rows.files()
    headers = read_headers(paths)
    small = headers.fits(SMALL, len(paths))
    shape = size or (headers.largest if max(headers.largest) <= SMALL else PHOTO)
    groups = None if group is None else group_numbers(rows.filled_column(group))
    images = ImageFileSplit(paths, headers.channels, shape, labels=labels, targets=floats, groups=groups)
    samples = images.stored(headers.largest) if small else images
    splits = {split: samples.take(numbers) for split, numbers in rows.splits().items()}
    cropped = "crop-flip" if small or floats is not None else "resized-crop"  # whose crop may lose a label's object
    augment = "none" if targets else cropped
    return replace(form, size=shape, augment=augment, splits=splits)


def _targets(
    rows: Rows, targets: Sequence[str], others: Sequence[str]
) -> tuple[SourceData, Tensor | None, Tensor | None]:
    """Return the task with its classes, and the classes (N,) or the targets of floats (N, T)."""
    form, splits = SourceData("regression", (), (), "none", {}, target="values", value_names=targets), rows.splits()
    if targets:
        return form, None, rows.values(targets)
    if not others:
        raise DataError(f"{plain(rows.path)}: has no column beside that of files: expected one called label.")
    if len(others) == 1 and others[0] not in LIST_COLUMNS:
        names, classes = rows.classes(others[0], splits)
        return replace(form, task="classification", classes=names, target="label", value_names=()), classes, None
    if len(others) == 1:
        names, sets = rows.label_lists(others[0], splits)
    else:
        names, sets = tuple(others), rows.label_columns(others)
    return replace(form, task="multi_label", classes=names, target="label set", value_names=()), None, sets
