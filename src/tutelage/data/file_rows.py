"""Files that are samples, by the folders of their classes, and the targets of rows that name files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from tutelage.data.labelled_images import LIST_COLUMNS, Rows
from tutelage.data.listing import SPLITS
from tutelage.data.preparation import SourceData
from tutelage.errors import ConfigError, DataError, plain


@dataclass(frozen=True)
class FileRows(Rows):
    """Rows that the files' names and folders tell; a fault names the file."""

    def fault(self, row: int, text: str) -> DataError:
        """Return the error for a file."""
        return DataError(f"{plain(self.cells[row][0])}: {text}")


def rows_by_folder(root: Path, files: Sequence[Path], other: str = "") -> Rows:
    """Return rows whose label is the name of the file's folder; other: another form, named by the message.

    Raises: DataError for files outside of the folders of classes.
    """
    names = {name for all_names in SPLITS.values() for name in all_names}
    inside = [path.relative_to(root).parts for path in files]
    is_split = all(parts[0].lower() in names for parts in inside)
    depth = 3 if is_split else 2
    if loose := [path for path, parts in zip(files, inside, strict=True) if len(parts) < depth]:
        raise DataError(
            f"{plain(loose[0])}: is in no folder of a class: expected {plain(root.name)}/"
            f"{'SPLIT/' if is_split else ''}CLASS/FILE{other}, or a CSV file."
        )
    cells = [[str(path), parts[depth - 2], *parts[: depth - 2]] for path, parts in zip(files, inside, strict=True)]
    return FileRows(root, ["file", "label", *(["split"] if is_split else [])], cells, range(len(cells)))


def row_targets(
    name: str, rows: Rows, targets: Sequence[str], task: str | None, others: set[str | None], modality: str
) -> tuple[SourceData, Tensor | None, Tensor | None]:
    """Return the task with its classes, and the classes (N,) or the targets of floats (N, T)."""
    splits = rows.splits()
    form = SourceData("regression", (), (), "none", {}, modality=modality, target="values", value_names=targets)
    if task == "regression":
        if not targets:
            raise ConfigError(f"{name}: name the values to estimate: target=COLUMN.")
        return form, None, rows.values(targets)
    left = [column for column in rows.header if column not in (rows.file_column, "split", *others)]
    usual = [column for column in ("label", *LIST_COLUMNS) if column in left][:1]
    chosen = [*targets] or usual or left
    if len(chosen) != 1 or chosen[0] not in left:
        raise ConfigError(f"{name}: expected one column of classes: target=COLUMN, of {', '.join(left) or 'none'}.")
    if chosen[0] in LIST_COLUMNS:
        classes, sets = rows.label_lists(chosen[0], splits)
        return replace(form, task="multi_label", classes=classes, target="label set", value_names=()), None, sets
    classes, labels = rows.classes(chosen[0], splits)
    return replace(form, task="classification", classes=classes, target="label", value_names=()), labels, None
