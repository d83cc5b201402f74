"""The rows of a CSV file that names images: their files, splits, groups and targets."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tutelage.data.listing import SPLITS, image_suffixes, summarise
from tutelage.errors import DataError, plain

FILE_COLUMNS = ("file", "filename", "path", "image", "id")
"""The names that the column of files may have."""

LIST_COLUMNS = ("labels", "tags")
"""The names of a column that lists labels."""

STATES = {"0": 0.0, "1": 1.0, "-1": -1.0, "": -1.0}
"""The cells of a column that is a label: has it not, has it, isn't known."""


@dataclass(frozen=True)
class Rows:
    """The rows of a file, with the number of each one's line."""

    path: Path
    header: Sequence[str]
    cells: Sequence[Sequence[str]]
    lines: Sequence[int]

    @classmethod
    def read(cls, path: Path) -> Rows:
        """Read the file.

        Raises: DataError that names the file, and the line if there is one.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, strict=True)
                numbered = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{plain(path)}: can't be read as CSV ({plain(error)}).") from error
        (_, header), *rows = numbered or [(0, [])]
        if len({*header}) < len(header) or len(header) < 2:
            raise DataError(f"{plain(path)}: the header is {header}: expected two or more different column names.")
        if not rows:
            raise DataError(f"{plain(path)}: has no rows under the header: expected one for each image.")
        for line, row in rows:
            if len(row) != len(header):
                raise DataError(f"{plain(path)}, line {line}: {len(row)} cells, and the header has {len(header)}.")
        return cls(path, header, [row for _, row in rows], [line for line, _ in rows])

    def column(self, name: str) -> list[str]:
        """Return a column's cells."""
        number = self.header.index(name)
        return [row[number] for row in self.cells]

    def without(self, names: Sequence[str]) -> Rows:
        """Return the rows without some columns."""
        kept = [number for number, name in enumerate(self.header) if name not in names]
        cells = [[row[number] for number in kept] for row in self.cells]
        return Rows(self.path, [self.header[number] for number in kept], cells, self.lines)

    def filled_column(self, name: str) -> list[str]:
        """Return a column's cells.

        Raises: DataError for an empty cell.
        """
        cells = self.column(name)
        if "" in cells:
            raise self.fault(cells.index(""), f"{name} is empty: expected the name of the sample's group.")
        return cells

    def fault(self, row: int, text: str) -> DataError:
        """Return the error for a row."""
        return DataError(f"{plain(self.path)}, line {self.lines[row]}: {text}")

    @property
    def file_column(self) -> str:
        """The column of files.

        Raises: DataError if there is none.
        """
        for name in FILE_COLUMNS:
            if name in self.header:
                return name
        raise DataError(
            f"{plain(self.path)}: the columns are {', '.join(self.header)}: expected one that is called "
            f"{' or '.join(FILE_COLUMNS)}, with each image's file."
        )

    def files(self, suffixes: Collection[str] = (), kind: str = "image") -> list[Path]:
        """Return each row's file: beside the CSV file or in `images`, with or without its suffix.

        suffixes: those of the files; (): those of images. kind: the files in words.
        Raises: DataError for a row whose file is missing, or is another row's too.
        """
        folders = (self.path.parent, self.path.parent / "images")
        stems = {p.stem: p for folder in folders if folder.is_dir() for p in sorted(folder.iterdir())
                 if p.suffix.lower() in (suffixes or image_suffixes())}  # fmt: skip
        result: list[Path] = []
        first: dict[Path, int] = {}
        for row, name in enumerate(self.column(self.file_column)):
            path = next((f / name for f in folders if name and is_image_file(f / name)), stems.get(name))
            if path is None:
                raise self.fault(
                    row, f"there is no {kind} {plain(name)!r} in {plain(self.path.parent)} or its images/."
                )
            if (earlier := first.setdefault(path.resolve(), row)) != row:
                raise self.fault(
                    row, f"the {kind} {plain(name)!r} is that of line {self.lines[earlier]} too: keep one."
                )
            result.append(path)
        return result

    def splits(self) -> dict[str, Tensor]:
        """Return the rows of each split, by the column `split`; all are of train without one.

        Raises: DataError for another split's name, or if train has no row.
        """
        if "split" not in self.header:
            return {"train": torch.arange(len(self.cells))}
        names = {name: split for split, all_names in SPLITS.items() for name in all_names}
        rows: dict[str, list[int]] = {}
        for row, cell in enumerate(self.column("split")):
            if cell.lower() not in names:
                raise self.fault(row, f"split is {cell!r}: expected {', '.join(names)}.")
            rows.setdefault(names[cell.lower()], []).append(row)
        if "train" not in rows:
            raise DataError(f"{plain(self.path)}: no row's split is train: expected some.")
        return {split: torch.tensor(numbers) for split, numbers in rows.items()}

    def values(self, names: Sequence[str]) -> Tensor:
        """Return columns of numbers, (N, T) float64.

        Raises: DataError for a cell that isn't a finite number.
        """
        result = torch.empty(len(self.cells), len(names), dtype=torch.float64)
        for j, name in enumerate(names):
            for i, cell in enumerate(self.column(name)):
                try:
                    value = float(cell)
                except ValueError:
                    value = math.nan
                if not math.isfinite(value):
                    raise self.fault(i, f"the target {name} is {cell!r}: expected a finite number.")
                result[i, j] = value
        return result

    def classes(self, name: str, splits: Mapping[str, Tensor]) -> tuple[tuple[str, ...], Tensor]:
        """Return the names of classes, and each row's, (N,) int64.

        Raises: DataError for an empty cell, a list, or a class that no training row has.
        """
        cells = self.column(name)
        for row, cell in enumerate(cells):
            if not cell or ";" in cell:
                mend = f"to list several, call the column {LIST_COLUMNS[0]}"
                raise self.fault(row, f"{name} is {cell!r}: expected one class; {mend}.")
        known = tuple(sorted({cells[i] for i in splits["train"].tolist()}))
        self._refuse_unknown([{cell} for cell in cells], known)
        numbers = {cell: number for number, cell in enumerate(known)}
        return known, torch.tensor([numbers[cell] for cell in cells])

    def label_lists(self, name: str, splits: Mapping[str, Tensor]) -> tuple[tuple[str, ...], Tensor]:
        """Return the names of labels and the label sets, (N, C) float32, of a column of labels joined by ";".

        Raises: DataError for a label that no training row has.
        """
        sets = [{label.strip() for label in cell.split(";")} - {""} for cell in self.column(name)]
        known = tuple(sorted(set().union(*(sets[i] for i in splits["train"].tolist()))))
        self._refuse_unknown(sets, known)
        if not known:
            raise DataError(f"{plain(self.path)}: the column {name} is empty in each training row: expected labels.")
        return known, torch.tensor([[float(label in labels) for label in known] for labels in sets])

    def label_columns(self, names: Sequence[str]) -> Tensor:
        """Return the label sets, (N, C) float32, of a column for each label.

        Raises: DataError for a cell that isn't 0, 1, -1 or empty.
        """
        result = torch.empty(len(self.cells), len(names))
        for j, name in enumerate(names):
            for i, cell in enumerate(self.column(name)):
                if cell not in STATES:
                    raise self.fault(
                        i,
                        f"{name} is {cell!r}: expected 1, 0, or nothing where it isn't known. Numbers to estimate are "
                        f"target={name}; other columns are left out by drop=.",
                    )
                result[i, j] = STATES[cell]
        return result

    def _refuse_unknown(self, sets: Sequence[set[str]], known: Sequence[str]) -> None:
        for row, labels in enumerate(sets):
            if absent := sorted(labels - {*known}):
                raise self.fault(row, f"no training row has the label {absent[0]!r}, only {summarise(known)}.")


def is_image_file(path: Path) -> bool:
    """Return whether there is such a file; a name that no file system takes has none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
