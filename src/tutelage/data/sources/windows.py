"""Windows of long series in a table: the rows that follow are forecast, or each window has a class."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from tutelage.data.column_names import refuse_wrong_columns
from tutelage.data.listing import to_path
from tutelage.data.preparation import SourceData
from tutelage.data.single_precision import to_float32
from tutelage.data.table_encoding import as_texts, read_labels, read_values, sorted_classes
from tutelage.data.table_files import DataTable, read_table
from tutelage.data.window_split import WindowForm, WindowSplit
from tutelage.errors import ConfigError, DataError, plain
from tutelage.utils.options import Count, check_options

NAMES = {
    "windows:FILE": "windows of series in a CSV or Parquet file, one row a time; target=COLUMN, "
    "reading={window: …, horizon: …}"
}

TRAIN, VAL = 0.7, 0.1
"""The first part of each series' rows, which is for training, and the part after it, for validation."""


COARSE = 0.01
"""The largest rounding error of a column's numbers, in units of their standard deviation."""


@dataclass(frozen=True)
class WindowReading:
    """The options of `reading`.

    window: rows of inputs. horizon: following rows to forecast. stride: rows between the starts of windows. season:
    rows after which the naive forecast repeats. time: the column of times, which must be evenly spaced.
    """

    window: int
    horizon: int
    stride: int
    season: int
    time: str


def reading_options(
    name: str,
    window: Annotated[int, Field(ge=2, le=1_000_000)] = 48,
    horizon: Count = 12,
    stride: Count = 1,
    season: Count = 1,
    time: str = "",
) -> WindowReading:
    """Return the options of `reading`."""
    return WindowReading(window, horizon, stride, season, time)


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
    """Cut each series into windows: the first rows for training, then validation, then test; none is in two parts.

    The rows are in the order of time. `group` is the column that names each row's series, if there are several. All
    other columns are inputs, also the targets' own past, but those of `drop` and of classes. A target of texts is a
    class, as is any if the task is classification; a window of rows of several classes is left out.
    """
    path = to_path(where)
    name = f"data {kind}:{plain(path)}"
    if size is not None:
        raise ConfigError(f"{name}: size={size}: windows have a length: set reading={{window: …}}.")
    check_options(f"{name}: reading", reading_options, reading or {})
    options, table = reading_options(name, **(reading or {})), read_table(path)
    targets = [target] if isinstance(target, str) else list(target)
    others = [column for column in (group, options.time) if column]
    named = [*targets, *others, *drop]
    refuse_wrong_columns(name, named, table.columns)
    if not targets:
        raise ConfigError(f"{name}: name the columns to forecast: target={list(table.columns)[-1]}, for instance.")
    classifies = task == "classification" or table.column(targets[0]).numbers is None
    outside = {*others, *drop, *(targets if classifies else [])}
    inputs = [column for column in table.columns if column not in outside]
    if not inputs or (len(targets) > 1 and classifies):
        raise ConfigError(f"{name}: target={', '.join(targets)}: expected columns of numbers or one of classes, and "
                          "inputs beside it.")  # fmt: skip
    spans = _spans(table, group)
    if options.time:
        _refuse_gaps(table, options.time, spans)
    series = torch.from_numpy(np.stack([_read_floats(table, column) for column in inputs], 1))
    if classifies:
        if unused := [key for key in ("horizon", "season") if key in (reading or {})]:
            raise ConfigError(
                f"{name}: reading: {', '.join(unused)} is for forecasts, and {targets[0]} is a class: leave it out."
            )
        return _labelled(name, table, targets[0], series, inputs, spans, options)
    columns = tuple(inputs.index(column) for column in targets)
    form = WindowForm(options.window, options.horizon, columns, _naive_errors(name, series, columns, spans, options))
    names = [f"{column}+{step}" for step in range(1, options.horizon + 1) for column in targets]
    splits = {split: WindowSplit(series, starts, form) for split, starts in _starts(name, spans, form, options).items()}
    about: dict[str, Any] = {"modality": "series", "target": "values", "value_names": names, "input_names": inputs}
    return SourceData("forecasting", (), (options.window,), "none", splits, notes=table.notes, **about)


def _read_floats(table: DataTable, column: str) -> Any:
    """Return a column's numbers as floats of 32 bits.

    Raises: DataError that names a cell beyond their range, or the column if they don't tell its numbers apart.
    """
    numbers = read_values(table, column)
    floats = to_float32(numbers)
    if (beyond := ~np.isfinite(floats)).any():
        row = int(beyond.argmax())
        raise DataError(f"{table.place(row, column)}: {numbers[row]:g} is beyond 3e38: scale the column.")
    if np.abs(floats - numbers).max() > COARSE * numbers.std() > 0:
        raise DataError(
            f"{plain(table.path)}: {column} varies by {numbers.std():.3g} around {numbers.mean():.3g}, which 32 bits "
            "don't tell apart: subtract a constant from the column."
        )
    return floats


def _labelled(
    name: str,
    table: DataTable,
    target: str,
    series: Tensor,
    inputs: Sequence[str],
    spans: Sequence[tuple[int, int]],
    options: WindowReading,
) -> SourceData:
    """Return windows with the class of all their rows.

    Raises: DataError for a class without training windows.
    """
    texts = read_labels(table, target)
    classes = sorted_classes(texts)
    numbers = torch.tensor([classes.index(text) for text in texts])
    form = WindowForm(options.window, 0, (), ())
    splits = {}
    for split, starts in _starts(name, spans, form, options).items():
        rows = numbers[starts[:, None] + torch.arange(options.window)]
        pure = (rows == rows[:, :1]).all(1)
        splits[split] = WindowSplit(series, starts[pure], form, rows[pure, 0])
        if not pure.any():
            raise DataError(f"{name}: no window of {split} has one {target} in all its rows: use a smaller window.")
    trained = {classes[n] for n in splits["train"].labels.tolist()}  # type: ignore[union-attr]
    if missing := [label for label in classes if label not in trained]:
        row = texts.index(missing[0])
        raise DataError(
            f"{table.place(row, target)}: no training window has the class {plain(missing[0])!r}: expected all classes "
            f"in the first {TRAIN:.0%} of the rows."
        )
    about: dict[str, Any] = {"modality": "series", "input_names": list(inputs), "notes": table.notes}
    return SourceData("classification", classes, (options.window,), "none", splits, **about)


def _spans(table: DataTable, group: str | None) -> list[tuple[int, int]]:
    """Return the first row of each series, and the one after its last.

    Raises: DataError if the rows of a series aren't together.
    """
    if group is None:
        return [(0, len(table))]
    names = [str(text) for text in as_texts(table.column(group))]
    starts = [row for row, text in enumerate(names) if row == 0 or text != names[row - 1]]
    seen: set[str] = set()
    for row in starts:
        if names[row] in seen:
            raise DataError(f"{table.place(row, group)}: the rows of {plain(names[row])!r} aren't together: sort them.")
        seen.add(names[row])
    return list(zip(starts, [*starts[1:], len(names)], strict=True))


def _refuse_gaps(table: DataTable, time: str, spans: Sequence[tuple[int, int]]) -> None:
    """Refuse times that aren't evenly spaced.

    Raises: DataError that names the first row after a gap, or the first cell that is no time.
    """
    column = table.column(time)
    if column.numbers is not None:
        times = read_values(table, time)
    else:
        texts = np.array([str(text) for text in as_texts(column)])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # times with an offset become those of UTC
                moments = texts.astype("datetime64[ms]")
        except ValueError as error:
            raise DataError(f"{plain(table.path)}: {time}: {plain(error)}: expected times of ISO 8601.") from error
        if (missing := np.isnat(moments)).any():
            raise DataError(f"{table.place(int(missing.argmax()), time)}: has no time.")
        times = moments.astype(np.int64) / 1000.0
    for start, stop in spans:
        steps = np.diff(times[start:stop])
        usual = float(np.median(steps)) if len(steps) else 1.0
        if len(steps) and usual <= 0:
            raise DataError(f"{table.place(start, time)}: the times don't rise from row to row: sort them.")
        if (odd := np.flatnonzero(np.abs(steps - usual) > 1e-6 * abs(usual))).size:
            row = start + int(odd[0]) + 1
            raise DataError(
                f"{table.place(row, time)}: comes {steps[odd[0]]:g} after the row before, and the others {usual:g}: "
                "fill the gap, name each part in a column (group=), or leave time out if the steps are months."
            )


def _starts(name: str, spans: Sequence[tuple[int, int]], form: WindowForm, options: WindowReading) -> dict[str, Tensor]:
    """Return the first rows of each split's windows; inputs and forecast rows are all within the split's rows.

    Raises: DataError if a split has none.
    """
    length = form.window + form.horizon
    starts: dict[str, list[Tensor]] = {"train": [], "val": [], "test": []}
    for first, last in spans:
        cuts = [first, *_cuts(first, last), last]
        for split, (begin, end) in zip(starts, pairwise(cuts), strict=True):
            starts[split].append(torch.arange(begin, end - length + 1, options.stride) if end - begin >= length else
                                 torch.zeros(0, dtype=torch.int64))  # fmt: skip
    result = {split: torch.cat(parts) for split, parts in starts.items()}
    for split, rows in result.items():
        if not len(rows):
            raise DataError(
                f"{name}: no window of {length} rows fits into the rows of {split}, of {spans[0][1] - spans[0][0]} in "
                "the first series: use a smaller window or horizon, or more rows."
            )
    return result


def _cuts(first: int, last: int) -> tuple[int, int]:
    """Return the first rows of validation and of test in a series."""
    return first + round(TRAIN * (last - first)), first + round((TRAIN + VAL) * (last - first))


def _naive_errors(
    name: str, series: Tensor, columns: Sequence[int], spans: Sequence[tuple[int, int]], options: WindowReading
) -> tuple[float, ...]:
    """Return the mean absolute error of each target's naive forecast, the value a season before, over train.

    Hyndman, Koehler. International Journal of Forecasting 22, 2006, which scale errors by it.
    Raises: DataError if it is 0.
    """
    parts = [series[first : _cuts(first, last)[0]][:, list(columns)].double() for first, last in spans]
    changes = [(part[options.season :] - part[: -options.season]).abs() for part in parts]
    errors = torch.cat(changes).mean(0)
    if not len(torch.cat(changes)) or not bool((errors > 0).all()):
        raise DataError(
            f"{name}: season={options.season}: the naive forecast makes no error in training, or there are too few "
            "rows for it: use another target or season."
        )
    return tuple(errors.tolist())
