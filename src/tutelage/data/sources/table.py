"""Tables in CSV files, with numbers as inputs and a value or a class as the target."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tutelage.data.grouping import group_numbers
from tutelage.data.listing import to_path
from tutelage.data.preparation import SourceData
from tutelage.data.splits import InMemorySplit
from tutelage.errors import ConfigError, DataError, plain, unknown

NAMES = {"csv:FILE": "rows of numbers with a header; target=COLUMN (or several) names the values to estimate"}

Rows = list[list[str]]


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
    """Read the table; all columns but the targets, the group and the dropped ones are inputs."""
    path = to_path(where)
    header, rows = _read(path)
    target = [target] if isinstance(target, str) else target
    if size is not None:
        raise ConfigError(f"data csv:{plain(path)}: size={size}: rows of tables have no size; leave it out.")
    if not target:
        raise ConfigError(f"data csv:{plain(path)}: name the column to estimate: target={header[-1]}, for instance.")
    faults = [unknown("column", name, header) for name in (*target, *drop, *([group] if group else []))
              if name not in header]  # fmt: skip
    if faults:
        raise ConfigError(f"data csv:{plain(path)}: " + "\n".join(faults))
    inputs = [name for name in header if name not in (*target, *drop, group)]
    if not inputs:
        raise ConfigError(f"data csv:{plain(path)}: there is no column left for the inputs; name fewer targets.")
    x, y = (_numbers(path, header, rows, names) for names in (inputs, target))
    groups = None if group is None else group_numbers([row[header.index(group)] for row in rows])
    split = InMemorySplit(x, y, groups=groups)
    return SourceData(
        "regression",
        (),
        (),
        "none",
        {"train": split},
        modality="table",
        target="values",
        value_names=tuple(target),
        input_names=tuple(inputs),
    )


def _read(path: Path) -> tuple[list[str], Rows]:
    """Return the header and the rows.

    Raises: DataError that names file and row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{plain(path)}: can't be read as CSV ({plain(error)}).") from error
    if len({*header}) < len(header) or len(header) < 2:
        raise DataError(f"{plain(path)}: the header is {header}: expected two or more different column names.")
    if len(rows) < 10:
        raise DataError(f"{plain(path)}: has {len(rows)} rows: expected 10 or more under the header.")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DataError(f"{plain(path)}, line {number}: {len(row)} cells, and the header has {len(header)}.")
    return header, rows


def _numbers(path: Path, header: list[str], rows: Rows, names: Sequence[str]) -> Tensor:
    """Return columns as float32 (N, F).

    Raises: DataError that names the file, the line and the column of a cell that isn't a finite number.
    """
    numbers = [header.index(name) for name in names]
    result = torch.empty(len(rows), len(names), dtype=torch.float64)
    for i, row in enumerate(rows):
        for j, number in enumerate(numbers):
            try:
                value = float(row[number])
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise DataError(
                    f"{plain(path)}, line {i + 2}: the column {names[j]} is {row[number]!r}: expected a finite number."
                )
            result[i, j] = value
    return result.float()
