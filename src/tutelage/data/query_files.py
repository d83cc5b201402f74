"""Files of rankings as arrays: documents of queries in SVMlight text or .npz, and users' interactions in CSV."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import DataError, plain, shown

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

HIGHEST_GRADE = 30
"""The highest grade: the gain of a document is 2 to the power of its grade."""
MOST_FEATURES = 65_536
"""The most features of a document; they are kept densely."""

USER_COLUMNS = ("user", "user_id", "userId", "userID")
ITEM_COLUMNS = ("item", "item_id", "itemId", "itemID", "movieId")
TIME_COLUMNS = ("time", "timestamp")


@dataclass(frozen=True)
class QueryDocuments:
    """Documents with features and grades, each query's next to each other.

    features: (N, D) float32. grades: (N,) float32, 0 … HIGHEST_GRADE. queries: (N,) int64, each document's query.
    named: whether these are the file's numbers, so that a number means the same query in other files.
    """

    features: Array
    grades: Array
    queries: Array
    named: bool = True


@dataclass(frozen=True)
class Interactions:
    """Users' interactions with items, in the file's order.

    users, items: (N,) int64, numbers of `user_names` and `item_names`. times: (N,) float64.
    """

    users: Array
    items: Array
    times: Array
    user_names: Sequence[str]
    item_names: Sequence[str]


def read_letor(path: Path) -> QueryDocuments:
    """Read a text file of a document per row, `grade qid:QUERY FEATURE:VALUE …  # comment`, as in LETOR and SVMlight.

    Feature numbers ascend in a row; column k of the features is feature k, 0 where a row leaves it out.
    Raises: DataError with the file and the row.
    """
    from sklearn.datasets import load_svmlight_file

    _require_file(path, "a text file with rows `grade qid:QUERY FEATURE:VALUE …`")
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sparse, grades, queries = load_svmlight_file(file, dtype=np.float64, query_id=True, zero_based=True)
    except Exception as error:  # on a broken file scikit-learn raises almost anything
        raise _letor_error(path, plain(error)) from error
    wrong = not (len(grades) == len(queries) > 0 and 0 < sparse.shape[1] <= MOST_FEATURES)
    wrong = wrong or not (np.isfinite(sparse.data).all() and _are_grades(grades) and (queries >= 0).all())
    if wrong or _scattered(queries) is not None:
        raise _letor_error(path, "its rows have faults")
    return QueryDocuments(sparse.toarray().astype(np.float32), grades.astype(np.float32), queries.astype(np.int64))


def _are_grades(grades: Array) -> bool:
    return bool(np.isfinite(grades).all() and (grades >= 0).all() and (grades <= HIGHEST_GRADE).all())


def _scattered(queries: Array) -> int | None:
    """Return the first document of a query that was left before; None if each query's documents are together."""
    starts = np.flatnonzero(np.diff(queries, prepend=queries[:1] - 1)) if len(queries) else queries
    first = np.unique(queries[starts], return_index=True)[1]
    again = np.setdiff1d(np.arange(len(starts)), first)
    return int(starts[again[0]]) if len(again) else None


def _letor_error(path: Path, reason: str) -> DataError:
    """Return the error of the first row that has a fault; with this reason, if rows are all right one by one."""
    seen: dict[str, None] = {}
    for row, document in _rows(path):
        fields = document.split()
        fault = _document_fault(fields)
        if not fault and fields[1] in seen and fields[1] != next(reversed(seen)):
            fault = f"the query {fields[1]} comes again after others: keep the documents of a query next to each other"
        if fault:
            return DataError(f"{plain(path)}, row {row}: {fault}.")
        seen[fields[1]] = None
    return DataError(f"{plain(path)}: {reason if seen else 'has no documents'}; expected {DOCUMENT}.")


def row_of_query(path: Path, query: int) -> int:
    """Return the number of the first row of a text file that has a document of the query."""
    return next(row for row, document in _rows(path) if int(document.split()[1].removeprefix("qid:")) == query)


DOCUMENT = "rows `grade qid:QUERY FEATURE:VALUE …`"


def _rows(path: Path) -> Iterator[tuple[int, str]]:
    """Iterate over the rows that aren't empty, by number from 1, without their comments."""
    with path.open(encoding="utf-8", errors="backslashreplace") as file:
        for number, line in enumerate(file, 1):
            if document := line.partition("#")[0].strip():
                yield number, document


def _document_fault(fields: Sequence[str]) -> str:
    """Return the first fault of a document's fields; empty if it has none."""
    if not 0 <= _number(fields[0]) <= HIGHEST_GRADE:
        return f"the grade {_quoted(fields[0])}, expected a number from 0 to {HIGHEST_GRADE}"
    kind, _, query = (fields[1] if len(fields) > 1 else "").partition(":")
    if kind != "qid":
        return f"no query after the grade: expected {DOCUMENT}"
    if not (query.isascii() and query.isdigit() and int(query) < 2**63):
        return f"the query {_quoted(query)}, expected a whole number, 0 or more"
    last = -1
    for field in fields[2:]:
        name, colon, value = field.partition(":")
        if not (colon and name.isascii() and name.isdigit() and int(name) < MOST_FEATURES):
            return f"{_quoted(field)}, expected FEATURE:VALUE with a feature number below {MOST_FEATURES:,}"
        if int(name) <= last:
            return f"feature {name} comes after feature {last}: sort the features, each once"
        if not math.isfinite(_number(value)):
            return f"feature {name} is {_quoted(value)}, expected a finite number"
        last = int(name)
    return ""


def _number(text: str) -> float:
    """Return the number that the text is; NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _quoted(text: str) -> str:
    return repr(shown(text))


def _require_file(path: Path, expected: str) -> None:
    if not path.is_file():
        reason = "is no file" if path.exists() else "no such file"
        raise DataError(f"{plain(path)}: {reason}; expected {expected}.")


def read_query_arrays(path: Path) -> QueryDocuments:
    """Read a .npz with x (N, D), y (N,) grades, and `group` (Q,), the number of documents of each query, or qid (N,).

    With `group`, queries are numbered from 0. Raises: DataError with the file, the array and the row.
    """
    _require_file(path, "a .npz with x, y and group")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except Exception as error:  # on a broken file numpy raises almost anything
        raise DataError(f"{plain(path)}: can't be read as a .npz of plain arrays ({plain(error)}).") from error
    return documents_of_arrays(plain(path), arrays)


def documents_of_arrays(name: str, arrays: Mapping[str, Array]) -> QueryDocuments:
    """Check the arrays x, y and group or qid; name: the name in messages.

    Raises: DataError with the array and the row.
    """
    sizes = "group" if "group" in arrays else "qid"
    for key, dimensions, kinds in (("x", 2, "fiu"), ("y", 1, "fiu"), (sizes, 1, "iu")):
        if key not in arrays:
            raise DataError(f"{name}: no array {key!r}, only {', '.join(arrays) or 'none'}; expected x, y and group.")
        array = arrays[key]
        if array.ndim != dimensions or array.dtype.kind not in kinds or not array.size:
            form = {"x": "numbers (N, D)", "y": "numbers (N,)"}.get(key, "whole numbers, one or more")
            raise DataError(f"{name}: {key} is {array.dtype} of shape {array.shape}, expected {form}.")
    features, grades = arrays["x"].astype(np.float32), arrays["y"].astype(np.float32)
    if len(features) != len(grades):
        raise DataError(f"{name}: {len(features)} rows in x and {len(grades)} in y, expected as many.")
    _refuse_rows(name, "x", np.flatnonzero(~np.isfinite(features).all(1)), features, "finite numbers")
    out_of_range = np.flatnonzero(~((grades >= 0) & (grades <= HIGHEST_GRADE)))
    _refuse_rows(name, "y", out_of_range, grades, f"grades from 0 to {HIGHEST_GRADE}")
    return QueryDocuments(features, grades, _queries(name, arrays, len(grades)), named="group" not in arrays)


def _queries(name: str, arrays: Mapping[str, Array], count: int) -> Array:
    """Return each document's query number."""
    if "group" in arrays:
        group = arrays["group"].astype(np.int64)
        _refuse_rows(name, "group", np.flatnonzero(group < 1), group, "one document or more in every query")
        if group.sum() != count:
            raise DataError(f"{name}: the queries in group have {group.sum():,} documents, x has {count:,}.")
        return np.repeat(np.arange(len(group)), group)
    queries = arrays["qid"].astype(np.int64)
    if len(queries) != count:
        raise DataError(f"{name}: {len(queries)} numbers in qid and {count} rows in x, expected as many.")
    _refuse_rows(name, "qid", np.flatnonzero(queries < 0), queries, "query numbers, 0 or more")
    if (row := _scattered(queries)) is not None:
        raise DataError(
            f"{name}: row {row} of qid: the query {queries[row]} comes again after others: keep the documents of a "
            "query next to each other."
        )
    return queries


def _refuse_rows(name: str, key: str, rows: Array, array: Array, expected: str) -> None:
    if len(rows):
        value = array[rows[0]]
        if value.ndim:
            column = int(np.flatnonzero(~np.isfinite(value))[0])
            value, key = value[column], f"column {column} of {key}"
        raise DataError(f"{name}: row {rows[0]}, {key} is {value}, expected {expected} ({len(rows):,} such row(s)).")


def read_interactions(path: Path) -> Interactions:
    """Read a CSV (or TSV, by its suffix) whose header has user, item and time, or usual other names of these.

    Raises: DataError with the file and the row; the header is row 1.
    """
    _require_file(path, "a CSV with columns user, item, time")
    users: list[str] = []
    items: list[str] = []
    times: list[float] = []
    with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        try:
            header = next(reader, [])
            columns = [_column(path, header, names) for names in (USER_COLUMNS, ITEM_COLUMNS, TIME_COLUMNS)]
            for fields in reader:
                if fields:
                    user, item, time = _interaction(path, reader.line_num, header, fields, columns)
                    users.append(user)
                    items.append(item)
                    times.append(time)
        except csv.Error as error:
            raise DataError(f"{plain(path)}, row {reader.line_num}: {plain(error)}; expected plain CSV.") from error
    if not users:
        raise DataError(f"{plain(path)}: has no interactions; expected a row for each.")
    user_names, user_numbers = np.unique(np.asarray(users, dtype=object), return_inverse=True)
    item_names, item_numbers = np.unique(np.asarray(items, dtype=object), return_inverse=True)
    return Interactions(
        user_numbers.astype(np.int64),
        item_numbers.astype(np.int64),
        np.asarray(times),
        tuple(user_names),
        tuple(item_names),
    )


def _column(path: Path, header: Sequence[str], names: Sequence[str]) -> int:
    """Return the number of the column that has one of the names."""
    columns = [number for number, name in enumerate(header) if name.strip() in names]
    if len(columns) != 1:
        count = f"{len(columns)} columns" if columns else "no column"
        raise DataError(
            f"{plain(path)}, row 1: {count} for the {names[0]} in the header {_quoted(','.join(header))}; expected one "
            f"of {', '.join(names)}."
        )
    return columns[0]


def _interaction(
    path: Path, row: int, header: Sequence[str], fields: Sequence[str], columns: Sequence[int]
) -> tuple[str, str, float]:
    """Return the user, the item and the time of a row."""
    place = f"{plain(path)}, row {row}"
    if len(fields) != len(header):
        raise DataError(f"{place}: {len(fields)} fields, expected {len(header)}, as in the header.")
    user, item, text = (fields[column].strip() for column in columns)
    for name, value in (("user", user), ("item", item)):
        if not value:
            raise DataError(f"{place}: the {name} is empty: name it, or remove the row.")
    if not math.isfinite(time := _number(text)):
        raise DataError(f"{place}: the time is {_quoted(text)}, expected a number, such as seconds since 1970.")
    return user, item, time
