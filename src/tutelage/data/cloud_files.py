"""Files of point clouds: .npy, .xyz and .txt, .off and .ply, as tables (N, C) whose first columns are x, y, z."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import DataError, plain

Table = np.ndarray[tuple[int, int], np.dtype[np.float32]]
"""Points (N, C) float32."""

TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
"""The types of PLY's properties."""

FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
"""The forms of PLY's data, with the order of bytes."""


def read_cloud(path: Path) -> Tensor:
    """Return a file's points, (N, C) float32; it may have none.

    Raises: DataError that names the file, and the line or row, if it can't be used.
    """
    try:
        points = READERS[path.suffix.lower()](path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{plain(path)}: can't be read as points ({plain(error)}): replace or remove it.") from error
    check_points(plain(path), points)
    return torch.from_numpy(np.ascontiguousarray(points))


def check_points(name: str, points: Table) -> None:
    """Refuse points with fewer than three columns or NaN or infinite numbers, and points that are all the same.

    Raises: DataError that begins with the name.
    """
    if not len(points):
        return
    if points.shape[1] < 3:
        raise DataError(f"{name}: has {points.shape[1]} columns, expected x, y, z and, if there are any, features.")
    wrong = np.flatnonzero(~np.isfinite(points).all(1))
    if len(wrong):
        raise DataError(
            f"{name}, point {wrong[0] + 1}: is {points[wrong[0]].tolist()}: expected finite numbers; remove the point."
        )
    if not np.ptp(points[:, :3], axis=0).any():
        raise DataError(
            f"{name}: all its {len(points)} points are {points[0, :3].tolist()}, which is no shape: remove it."
        )


class HeldClouds(list[Tensor]):
    """Point clouds in memory."""

    def changed(self, change: Callable[[Tensor], Tensor]) -> HeldClouds:
        """Return the clouds after a change of each."""
        return HeldClouds(map(change, self))


@dataclass(frozen=True)
class CloudFiles:
    """Point clouds that are read from their files, and changed, when they are needed."""

    paths: Sequence[Path]
    change: Callable[[Tensor], Tensor] = torch.Tensor.clone

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Tensor:
        return self.change(read_cloud(self.paths[number]))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[number] for number in range(len(self)))

    def changed(self, change: Callable[[Tensor], Tensor]) -> CloudFiles:
        """Return the clouds after a change of each."""
        return CloudFiles(self.paths, change)


Clouds = HeldClouds | CloudFiles
"""Point clouds (N, C) by number."""


@dataclass(frozen=True)
class Lines:
    """The lines of a text that aren't empty or comments, with their numbers."""

    path: Path
    numbers: Sequence[int]
    cells: Sequence[Sequence[str]]

    @classmethod
    def of(cls, path: Path, text: str, first: int = 1) -> Lines:
        """Return a text's lines; first: the number of its first line in the file."""
        lines = [line.partition("#")[0].replace(",", " ").replace(";", " ").split() for line in text.splitlines()]
        numbered = [(first + n, cells) for n, cells in enumerate(lines) if cells]
        return cls(path, [n for n, _ in numbered], [cells for _, cells in numbered])

    def fault(self, line: int, text: str) -> DataError:
        """Return the error for a line."""
        return DataError(f"{plain(self.path)}, line {self.numbers[line]}: {text}")

    def part(self, start: int, count: int) -> Lines:
        """Return `count` lines from a start."""
        return Lines(self.path, self.numbers[start : start + count], self.cells[start : start + count])

    def table(self) -> Table:
        """Return the numbers.

        Raises: DataError for a line of another number of cells than the first, or whose cells aren't finite numbers.
        """
        for line, cells in enumerate(self.cells):
            if len(cells) != len(self.cells[0]):
                raise self.fault(line, f"has {len(cells)} numbers, and the first has {len(self.cells[0])}.")
        try:
            table = np.array(self.cells, np.float32).reshape(len(self.cells), -1)
        except ValueError:
            table = np.array([[_number(cell) for cell in cells] for cells in self.cells], np.float32)
        wrong = np.argwhere(~np.isfinite(table))
        if len(wrong):
            line, column = wrong[0].tolist()
            raise self.fault(line, f"{plain(self.cells[line][column])!r} isn't a finite number: mend or remove it.")
        return table


def _number(cell: str) -> float:
    """Return a cell's number; NaN if it isn't one."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _read_array(path: Path) -> Table:
    """Return the rows of a .npy file."""
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "iuf":
        shape = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise DataError(f"{plain(path)}: has {shape}: expected numbers (N, 3) or (N, 3 + features).")
    table: Table = array.astype(np.float32)
    return table


def _read_text(path: Path) -> Table:
    """Return the rows of a text file, apart by spaces, commas or semicolons."""
    return Lines.of(path, path.read_text(encoding="utf-8-sig")).table()


def _read_off(path: Path) -> Table:
    """Return the vertices of an OFF file."""
    lines = Lines.of(path, path.read_text(encoding="utf-8-sig"))
    head = lines.cells[0][0] if lines.cells else ""
    if not head.upper().startswith("OFF"):
        raise DataError(f"{plain(path)}: begins with {plain(head)!r}: expected OFF.")
    joined = [head[3:], *lines.cells[0][1:]] if head[3:] else list(lines.cells[0][1:])  # OFF8 6 0: on one line
    counts, start = (joined, 1) if joined else (lines.cells[1] if len(lines.cells) > 1 else [], 2)
    if len(counts) < 2 or not all(cell.isdecimal() for cell in counts[:2]):
        raise lines.fault(start - 1 if len(lines.cells) >= start else 0, "expected the numbers of vertices and faces.")
    vertices, faces = int(counts[0]), int(counts[1])
    if (found := len(lines.cells) - start) != vertices + faces:
        raise DataError(
            f"{plain(path)}: counts {vertices} vertices and {faces} faces, and has {found} lines of them: expected "
            f"{vertices + faces}; copy it again."
        )
    return lines.part(start, vertices).table()


def _read_ply(path: Path) -> Table:
    """Return the vertices of a PLY file, x, y, z and then their other properties."""
    content = path.read_bytes()
    header, end, _ = content.partition(b"end_header")
    data = content[len(header) + len(end) :]
    data = data[2:] if data.startswith(b"\r\n") else data[1:]
    words = [line.split() for line in header.decode("ascii", "replace").splitlines()]
    form = next((w[1] for w in words if len(w) > 1 and w[0] == "format"), "")
    if not content.startswith(b"ply") or not end or form not in FORMATS:
        raise DataError(f"{plain(path)}: its header isn't that of a PLY file of the format {' or '.join(FORMATS)}.")
    elements = [n for n, w in enumerate(words) if w[:1] == ["element"]]
    if not elements or words[elements[0]][1:2] != ["vertex"] or not words[elements[0]][-1].isdecimal():
        raise DataError(f"{plain(path)}: its first element isn't vertex: expected element vertex and their number.")
    count = int(words[elements[0]][-1])
    properties = [w for w in words[elements[0] + 1 : (*elements[1:], None)[0]] if w[:1] == ["property"]]
    types = {w[-1]: TYPES.get(w[1], "") for w in properties}
    if not {"x", "y", "z"} <= types.keys() or "" in types.values():
        raise DataError(f"{plain(path)}: its vertices have {', '.join(types)}: expected numbers x, y, z and others.")
    columns = [*types]
    order = [columns.index(name) for name in ("x", "y", "z", *(c for c in columns if c not in ("x", "y", "z")))]
    if form == "ascii":
        table = _ascii_vertices(path, data, count, len(columns), 2 + len(words))
    else:
        table = _binary_vertices(path, data, count, [(name, FORMATS[form] + kind) for name, kind in types.items()])
    return table[:, order]


def _ascii_vertices(path: Path, data: bytes, count: int, columns: int, first: int) -> Table:
    """Return the vertices (count, columns) of a text."""
    lines = Lines.of(path, data.decode("ascii", "replace"), first)
    _refuse_short(path, len(lines.cells), count)
    part = lines.part(0, count)
    for line, cells in enumerate(part.cells):
        if len(cells) != columns:
            raise part.fault(line, f"has {len(cells)} numbers, and the header names {columns}.")
    return part.table()


def _binary_vertices(path: Path, data: bytes, count: int, types: list[tuple[str, str]]) -> Table:
    """Return the vertices (count, columns) of bytes."""
    kind = np.dtype(types)
    _refuse_short(path, len(data) // kind.itemsize, count)
    rows = np.frombuffer(data, kind, count)
    return np.stack([rows[name].astype(np.float32) for name, _ in types], 1)


def _refuse_short(path: Path, found: int, count: int) -> None:
    if found < count:
        raise DataError(f"{plain(path)}: ends after {found} of {count} vertices: copy it again.")


READERS: Mapping[str, Callable[[Path], Table]] = {
    ".npy": _read_array, ".xyz": _read_text, ".txt": _read_text, ".off": _read_off, ".ply": _read_ply,
}  # fmt: skip
"""The readers of files by their suffixes."""
