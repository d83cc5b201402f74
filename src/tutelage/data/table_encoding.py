"""A table's columns as inputs of a model: what is needed for it is fitted to the training samples, and kept as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data.table_files import DataTable, TableColumn
from tutelage.errors import DataError, plain, shown

MOST_CATEGORIES = 256
"""A column with more different texts is left out: it identifies samples rather than describes them."""

MISSING_TEXT = "(missing)"
"""The name of the category of missing cells."""


@dataclass(frozen=True)
class ColumnEncoding:
    """The encoding of one column.

    A column of numbers becomes one input, in which the median stands for missing numbers, and a second one, 1 where a
    number is missing, if `indicates`. A column of texts becomes one input for each category, 1 for the sample's; a
    category that isn't in the training samples has 0 in all of them.

    Args:
        name: the column's name.
        median: of the training samples; None for a column of texts.
        indicates: whether numbers were missing in the training samples.
        categories: the different texts of the training samples; None: missing.
    """

    name: str
    median: float | None = None
    indicates: bool = False
    categories: tuple[str | None, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that it becomes."""
        if self.median is None:
            return tuple(f"{self.name}={MISSING_TEXT if text is None else text}" for text in self.categories)
        return (self.name, f"{self.name} {MISSING_TEXT}") if self.indicates else (self.name,)

    def encode(self, table: DataTable) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the column's inputs (N, K).

        Raises: DataError if the table doesn't have the column, or has texts where numbers are expected.
        """
        column = table.column(self.name)
        if self.median is None:
            numbers = {text: k for k, text in enumerate(self.categories)}
            codes = np.array([numbers.get(text, -1) for text in as_texts(column)], dtype=np.int64)
            return (codes[:, None] == np.arange(len(self.categories))).astype(np.float64)
        values = as_numbers(table, column)
        filled = np.where(np.isnan(values), self.median, values)
        return np.stack([filled, np.isnan(values)] if self.indicates else [filled], 1).astype(np.float64)


@dataclass(frozen=True)
class TableEncoding:
    """The encoding of a table's columns, in the order of the model's inputs."""

    columns: tuple[ColumnEncoding, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the model's inputs."""
        return tuple(name for column in self.columns for name in column.inputs)

    def encode(self, table: DataTable) -> Tensor:
        """Return a table's samples as inputs (N, F), float32.

        Raises: DataError if a column is missing or doesn't fit, or a number is beyond float32.
        """
        parts = [column.encode(table) for column in self.columns]
        x = np.concatenate(parts, 1)
        large = np.argwhere(np.abs(x) > np.finfo(np.float32).max)
        if len(large):
            index, k = large[0]
            owners = [column.name for column in self.columns for _ in column.inputs]
            raise DataError(f"{table.place(index, owners[k])}: {x[index, k]:g} is beyond 3e38: scale the column.")
        return torch.from_numpy(x.astype(np.float32))

    def to_json(self) -> str:
        """Return the encoding as JSON."""
        return json.dumps([asdict(column) for column in self.columns])

    @classmethod
    def from_json(cls, text: str) -> TableEncoding:
        """Return the encoding that `to_json` wrote.

        Raises: ValueError, TypeError or KeyError if the text is another.
        """
        columns = [dict(fields) for fields in json.loads(text)]
        return cls(tuple(ColumnEncoding(**c | {"categories": tuple(c["categories"])}) for c in columns))


def fit_encoding(table: DataTable, inputs: Sequence[str], train: Sequence[int]) -> tuple[TableEncoding, list[str]]:
    """Return the encoding of the columns `inputs` fitted to the training samples, and notes on those left out.

    Args:
        table: the file.
        inputs: the columns' names.
        train: the positions of the training samples; the others have no influence.

    Raises: DataError if no column is left.
    """
    encodings: list[ColumnEncoding] = []
    notes: list[str] = []
    for name in inputs:
        encoding, reason = _fit_column(table.column(name).take(train))
        if reason:
            notes.append(f"{plain(table.path)}: column {name!r} {reason}: it is left out.")
        else:
            encodings.append(encoding)
    if not encodings:
        raise DataError(f"{plain(table.path)}: no column is left as an input; {' '.join(notes) or 'add one.'}")
    return TableEncoding(tuple(encodings)), notes


def _fit_column(column: TableColumn) -> tuple[ColumnEncoding, str]:
    """Return a column's encoding, and the reason why it can't be used, "" if it can."""
    if column.numbers is None:
        counts = Counter(column.texts)
        categories = tuple(sorted((text for text in counts if text is not None), key=str))
        categories_or_missing = (*categories, *([None] if None in counts else []))
        reason = ""
        if len(counts) > MOST_CATEGORIES:
            reason = f"has {len(counts)} different texts in {len(column.texts)} training samples"
        if len(counts) == 1:
            reason = f"has the same text in all training samples, {_first(categories_or_missing)!r}"
        return ColumnEncoding(column.name, categories=categories_or_missing), reason
    present = column.numbers[~column.missing]
    if not len(present):
        return ColumnEncoding(column.name), "is missing in all training samples"
    indicates = bool(column.missing.any())
    same = "" if indicates or present.min() < present.max() else f"has {present[0]:g} in all training samples"
    return ColumnEncoding(column.name, float(np.median(present)), indicates), same


def _first(categories: Sequence[str | None]) -> str:
    return MISSING_TEXT if categories[0] is None else shown(categories[0])


def as_texts(column: TableColumn) -> Sequence[str | None]:
    """Return a column's cells as texts; a whole number has no decimals."""
    if column.numbers is None:
        return column.texts
    return tuple(None if np.isnan(v) else str(int(v)) if v == int(v) else repr(float(v)) for v in column.numbers)


def as_numbers(table: DataTable, column: TableColumn) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column's numbers.

    Raises: DataError that names the first cell with a text.
    """
    if column.numbers is not None:
        return column.numbers
    index = next((i for i, text in enumerate(column.texts) if text is not None and not _is_number(text)), None)
    if index is not None:
        raise DataError(f"{table.place(index, column.name)}: {_cell(column, index)}; expected a number.")
    return np.array([np.nan if text is None else float(text) for text in column.texts])


def read_values(table: DataTable, target: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a regression's targets.

    Raises: DataError that names the first cell that is missing or has no number.
    """
    column = table.column(target)
    _reject_missing(table, column)
    return as_numbers(table, column)


def read_labels(table: DataTable, target: str) -> Sequence[str]:
    """Return a classification's targets as texts.

    Raises: DataError that names the first cell that is missing.
    """
    column = table.column(target)
    _reject_missing(table, column)
    return tuple(str(text) for text in as_texts(column))


def sorted_classes(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the different labels in order: numbers by their values, else by the alphabet."""
    different = set(labels)
    numeric = all(_is_number(label) for label in different)
    return tuple(sorted(different, key=(lambda label: (float(label), label)) if numeric else None))


def _reject_missing(table: DataTable, column: TableColumn) -> None:
    missing = np.flatnonzero(column.missing)
    if len(missing):
        raise DataError(
            f"{table.place(int(missing[0]), column.name)}: the target is missing ({len(missing)} of {len(table)}); "
            "expected one in each row: remove the rows without."
        )


def _cell(column: TableColumn, index: int) -> str:
    return repr(shown(column.texts[index]))


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
