"""CSV and Parquet files as columns of numbers or texts, with missing cells; faults name the file, row and column."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import ConfigError, DataError, plain, shown, unknown

MISSING = ("", "na", "nan")
"""The cells that count as missing, in small letters."""

DELIMITERS = (",", ";", "\t")
EXACT = 2**53
"""Different integers up to this are different floating-point numbers."""

IDENTIFIERS = 1e30
"""Integers beyond this are measurements, not identifiers."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?", re.ASCII)

Numbers = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Cells = Sequence[str | None]
"""A column's cells; None: missing."""


@dataclass(frozen=True)
class TableColumn:
    """A column of numbers, NaN where missing; or of texts, None where missing.

    Args:
        name: the name in the file's header.
        numbers: (N,) float64; None if it has texts.
        texts: the N texts; () if it has numbers.
    """

    name: str
    numbers: Numbers | None
    texts: Cells = ()

    @property
    def missing(self) -> Flags:
        """(N,), whether a cell is missing."""
        if self.numbers is not None:
            return np.isnan(self.numbers)
        return np.array([text is None for text in self.texts], dtype=bool)

    def take(self, indices: Sequence[int]) -> TableColumn:
        """Return the cells at these positions."""
        if self.numbers is not None:
            return replace(self, numbers=self.numbers[np.asarray(indices, dtype=np.int64)])
        return replace(self, texts=tuple(self.texts[i] for i in indices))


@dataclass(frozen=True)
class DataTable:
    """A file's columns.

    Args:
        path: the file.
        columns: the columns, by name.
        rows: the number of each sample's row in the file: of a CSV file its first line, from 1.
        row_name: "line" or "row".
        notes: messages for the user.
    """

    path: Path
    columns: Mapping[str, TableColumn]
    rows: Sequence[int]
    row_name: str = "row"
    notes: Sequence[str] = field(default_factory=tuple)

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> TableColumn:
        """Return a column.

        Raises: DataError if there is none of that name.
        """
        if name not in self.columns:
            raise DataError(f"{plain(self.path)}: {unknown('column', plain(name), map(plain, self.columns))}")
        return self.columns[name]

    def place(self, index: int, name: str) -> str:
        """Return the place of a cell for a message."""
        return f"{plain(self.path)}, {self.row_name} {self.rows[index]}, column {name!r}"

    def take(self, indices: Sequence[int]) -> DataTable:
        """Return the samples at these positions."""
        columns = {name: column.take(indices) for name, column in self.columns.items()}
        return replace(self, columns=columns, rows=[self.rows[i] for i in indices])

    def without(self, names: Iterable[str]) -> DataTable:
        """Return the table without some columns.

        Raises: DataError if there is none of such a name.
        """
        dropped = {self.column(name).name for name in names}
        return replace(self, columns={name: c for name, c in self.columns.items() if name not in dropped})


def read_table(path: Path) -> DataTable:
    """Read a CSV file (also with semicolons or tabs) or a Parquet file, by its ending.

    A column has texts if a cell that isn't missing is no number.

    Raises: DataError if the file is missing or has a fault; ConfigError if pyarrow is needed and isn't installed.
    """
    if not path.is_file():
        raise DataError(f"{plain(path)}: {'no file' if path.exists() else 'no such file'}; expected a table.")
    return _read_parquet(path) if path.suffix in (".parquet", ".pq") else _read_csv(path)


def _read_csv(path: Path) -> DataTable:
    text = _decoded(path)
    delimiter = _delimiter(text)
    records = _records(path, text, delimiter)
    _, header = next(records, (0, []))
    names = _checked_names(path, [name.strip() for name in header])
    rows, cells = [], []
    for line, record in records:
        if not record:
            continue
        if len(record) != len(names):
            raise DataError(
                f"{plain(path)}, line {line}: {len(record)} cells, but the header has {len(names)} columns: expected "
                "as many; put quotes around a cell that has the delimiter in it."
            )
        rows.append(line)
        cells.append(record)
    if not rows:
        raise DataError(f"{plain(path)}: a header without rows; expected one row for each sample.")
    notes: list[str] = []
    columns = {}
    for name, of_column in zip(names, zip(*cells, strict=True), strict=True):
        stripped = [cell.strip() for cell in of_column]
        present = [None if cell.lower() in MISSING else cell for cell in stripped]
        if name:
            columns[name] = _column(path, rows, name, present, delimiter == ";", notes)
    if "" in names:
        notes.append(f"{plain(path)}: column {names.index('') + 1} has no name, as an index has none: it is left out.")
    return DataTable(path, columns, rows, "line", tuple(notes))


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{plain(path)}: byte {error.start} isn't UTF-8: save the file as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{plain(path)} can't be read: {error.strerror or error}.") from error


def _delimiter(text: str) -> str:
    """Return the delimiter that is most frequent in the header outside quotes."""
    header = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    return max(DELIMITERS, key=header.count)


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each record's first line, and its cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{plain(path)}, line {line}: {error}; expected cells in the form of CSV.") from error
        yield line, record


def _checked_names(path: Path, names: Sequence[str]) -> Sequence[str]:
    if not any(names):
        raise DataError(f"{plain(path)}: no header in line 1; expected the columns' names.")
    if all(NUMBER.fullmatch(name) for name in names):
        raise DataError(
            f"{plain(path)}, line 1: only numbers; expected the columns' names: put them in the first line."
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        numbers = ", ".join(str(k + 1) for k, name in enumerate(names) if name == twice[0])
        raise DataError(f"{plain(path)}, line 1: columns {numbers} have one name, {twice[0]!r}: rename them.")
    return names


def _column(
    path: Path, rows: Sequence[int], name: str, cells: list[str | None], may_have_commas: bool, notes: list[str]
) -> TableColumn:
    """Return a column of numbers if all its cells are numbers, else one of texts."""
    present = [cell for cell in cells if cell is not None]
    if may_have_commas and any("," in cell for cell in present) and all(map(DECIMAL_COMMA.fullmatch, present)):
        notes.append(f"{plain(path)}: column {name!r} has decimal commas, which are read as points.")
        cells = [None if cell is None else cell.replace(",", ".") for cell in cells]
        present = [cell for cell in cells if cell is not None]
    texts = [cell for cell in present if not NUMBER.fullmatch(cell)]
    if texts:
        if len(texts) < len(present) / 2:
            line = rows[cells.index(texts[0])]
            notes.append(
                f"{plain(path)}: column {name!r} has numbers, but also text in {len(texts)} cells, the first in "
                f"line {line}, {shown(texts[0])!r}: all its cells are taken as categories. If the text stands "
                "for a missing number, leave the cell empty."
            )
        return TableColumn(name, None, tuple(cells))
    numbers = np.array([math.nan if cell is None else float(cell) for cell in cells], dtype=np.float64)
    return _checked_numbers(path, rows, "line", TableColumn(name, numbers), notes)


def _checked_numbers(
    path: Path, rows: Sequence[int], row_name: str, column: TableColumn, notes: list[str]
) -> TableColumn:
    assert column.numbers is not None
    infinite = np.flatnonzero(np.isinf(column.numbers))
    if len(infinite):
        raise DataError(
            f"{plain(path)}, {row_name} {rows[infinite[0]]}, column {column.name!r}: an infinite number, or one "
            "beyond 1e308; expected a finite one, or an empty cell."
        )
    with np.errstate(invalid="ignore"):
        large = (np.abs(column.numbers) > EXACT) & (np.abs(column.numbers) < IDENTIFIERS)
    present = column.numbers[~column.missing]
    if large.any() and (present == np.floor(present)).all():
        notes.append(
            f"{plain(path)}: column {column.name!r} has integers beyond 2⁵³, which floating-point numbers don't "
            "distinguish: leave it out if it identifies the rows."
        )
    return column


def _read_parquet(path: Path) -> DataTable:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(f"{plain(path)}: pyarrow isn't installed: pip install 'tutelage[tables]'.") from error
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{plain(path)} can't be read as Parquet: {plain(shown(error))}") from error
    names = _checked_names(path, [str(name).strip() for name in table.column_names])
    if not table.num_rows:
        raise DataError(f"{plain(path)}: no rows; expected one row for each sample.")
    notes: list[str] = []
    rows = range(1, table.num_rows + 1)
    columns = {
        name: _arrow_column(path, rows, name, column, notes)
        for name, column in zip(names, table.columns, strict=True)
        if name and not name.startswith("__index_level_")
    }
    return DataTable(path, columns, rows, "row", tuple(notes))


def _arrow_column(path: Path, rows: Sequence[int], name: str, column: Any, notes: list[str]) -> TableColumn:
    """Return one of Arrow's columns as numbers or texts.

    Raises: DataError for any other type.
    """
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    values = column.to_pylist()
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or types.is_boolean(kind):
        texts = [None if v is None else str(v).strip() for v in values]
        return TableColumn(name, None, tuple(None if t is None or t.lower() in MISSING else t for t in texts))
    if not any(check(kind) for check in (types.is_integer, types.is_floating, types.is_decimal, types.is_null)):
        raise DataError(
            f"{plain(path)}, column {name!r}: the type {kind}; expected numbers, texts or true and false: "
            "convert the column, or leave it out."
        )
    numbers = np.array([math.nan if v is None else float(v) for v in values], dtype=np.float64)
    return _checked_numbers(path, rows, "row", TableColumn(name, numbers), notes)
