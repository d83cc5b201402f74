"""Tables in CSV and Parquet files: columns of numbers and texts as inputs, values or a class as the target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from tutelage.data.column_names import refuse_wrong_columns
from tutelage.data.grouping import group_numbers
from tutelage.data.listing import to_path
from tutelage.data.preparation import EncodedSplits, SourceData
from tutelage.data.splits import InMemorySplit, Split
from tutelage.data.table_encoding import as_texts, fit_encoding, read_labels, read_values, sorted_classes
from tutelage.data.table_files import DataTable, read_table
from tutelage.errors import ConfigError, DataError, plain

NAMES = {
    "csv:FILE": "rows of numbers and texts with a header; target=COLUMN names the value (or several) or the class",
    "parquet:FILE": "the same from a Parquet file; needs pyarrow",
}

FEWEST = 10
"""The smallest number of rows that can be divided into three splits."""


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.suffix in (".csv", ".tsv", ".parquet", ".pq") and path.is_file()


def find(
    kind: str,
    where: str,
    size: tuple[int, int] | None,
    *,
    target: str | Sequence[str] = (),
    group: str | None = None,
    drop: Sequence[str] = (),
    task: str | None = None,
) -> SourceData:
    """Read the table; all columns but the targets, the group and the dropped ones are inputs.

    A target with texts is a class, one with numbers a value, or a class if the task is classification.
    """
    path = to_path(where)
    table = read_table(path)
    name = f"data {kind}:{plain(path)}"
    targets = [target] if isinstance(target, str) else list(target)
    inputs = _inputs(name, table, size, targets, group, drop)
    if group is not None and table.column(group).missing.any():
        row = int(table.column(group).missing.argmax())
        raise DataError(f"{plain(path)}, row {row}: {group} is empty: expected the name of the sample's group.")
    groups = None if group is None else group_numbers([str(text) for text in as_texts(table.column(group))])
    rows = torch.arange(len(table))[:, None]
    classifies = task == "classification" or (task is None and table.column(targets[0]).numbers is None)
    if classifies and len(targets) > 1:
        raise ConfigError(
            f"{name}: target={', '.join(targets)}: expected one column of classes, or columns of numbers."
        )
    encode = partial(_encode, table, inputs)
    if not classifies:
        values = torch.stack([torch.from_numpy(read_values(table, column)).float() for column in targets], 1)
        splits = {"train": InMemorySplit(rows, values, groups=groups)}
        return SourceData(
            "regression",
            (),
            (),
            "none",
            splits,
            notes=table.notes,
            modality="table",
            target="values",
            value_names=targets,
            encode=encode,
        )
    labels = read_labels(table, targets[0])
    classes = sorted_classes(labels)
    _refuse_values(name, targets[0], classes, labels)
    numbers = {text: k for k, text in enumerate(classes)}
    y = torch.tensor([numbers[text] for text in labels])
    splits = {"train": InMemorySplit(rows, y, groups=groups)}
    return SourceData(
        "classification", classes, (), "none", splits, notes=table.notes, modality="table", encode=encode
    )  # fmt: skip


def _inputs(
    name: str,
    table: DataTable,
    size: tuple[int, int] | None,
    targets: Sequence[str],
    group: str | None,
    drop: Sequence[str],
) -> list[str]:
    """Return the names of the columns that are inputs.

    Raises: ConfigError for options that don't fit; DataError for too few rows.
    """
    if size is not None:
        raise ConfigError(f"{name}: size={size}: rows of tables have no size; leave it out.")
    if not targets:
        raise ConfigError(f"{name}: name the column to estimate: target={list(table.columns)[-1]}, for instance.")
    others = [*targets, *drop, *([group] if group else [])]
    refuse_wrong_columns(name, others, table.columns)
    if len(table) < FEWEST:
        raise DataError(f"{plain(table.path)}: has {len(table)} rows: expected {FEWEST} or more under the header.")
    inputs = [column for column in table.columns if column not in others]
    if not inputs:
        raise ConfigError(f"{name}: there is no column left for the inputs; name fewer targets.")
    return inputs


def _refuse_values(name: str, target: str, classes: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse a column of classes that has another one in almost every row.

    Raises: ConfigError.
    """
    if len(classes) > max(100, len(labels) // 2):
        raise ConfigError(
            f"{name}: target={target} has {len(classes)} different values in {len(labels)} rows: expected classes; "
            "name another column, or set task=regression if they are numbers."
        )


def _encode(table: DataTable, inputs: Sequence[str], train: Split, val: Split, test: Split) -> EncodedSplits:
    """Return the splits of row numbers as splits of encoded rows; the encoding is fitted to those of train."""
    splits = [split for split in (train, val, test) if isinstance(split, InMemorySplit)]
    encoding, notes = fit_encoding(table, inputs, splits[0].rows.tolist())
    x = encoding.encode(table)
    encoded = [InMemorySplit(x, split.targets, split.rows, split.all_groups) for split in splits]
    return EncodedSplits(encoded[0], encoded[1], encoded[2], encoding.inputs, encoding.to_json(), tuple(notes))
