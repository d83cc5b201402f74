"""Reading of graphs in .npz files: features, edges, labels and splits, with the faults of each named by row."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data.single_precision import to_float32
from tutelage.errors import DataError, plain

Array = np.ndarray[Any, Any]
SPLITS = ("train", "val", "test")
CSR = ("data", "indices", "indptr", "shape")
CELLS = 500_000_000
"""The most numbers of the nodes' features, which are kept dense."""


def read_arrays(path: Path) -> dict[str, Array]:
    """Read all arrays of an .npz file.

    Raises: DataError if it can't be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise DataError(f"{plain(path)}: there is no such file.") from error
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise DataError(f"{plain(path)}: can't be read ({error}): expected an .npz file without pickles.") from error


@dataclass(frozen=True)
class GraphFile:
    """The arrays of a file; the methods read a part each, and raise DataError with file and row."""

    path: Path
    arrays: Mapping[str, Array]

    def fault(self, text: str) -> DataError:
        """Return the error of this file."""
        return DataError(f"{plain(self.path)}: {text}")

    def first(self, *names: str) -> Array | None:
        """Return the first array of these names; None if there is none."""
        return next((self.arrays[name] for name in names if name in self.arrays), None)

    def features(self) -> Tensor:
        """Return the nodes' features (N, D): x, dense, or in CSR as x_data, x_indices, x_indptr, x_shape."""
        dense = self.first("x")
        stem = next((stem for stem in ("x", "attr") if f"{stem}_data" in self.arrays), None)
        if dense is None and stem is None:
            raise self.fault(
                f"no features, only {', '.join(self.arrays) or 'no arrays'}: expected x (N, D), or x_data, x_indices, "
                "x_indptr and x_shape of a CSR matrix."
            )
        x = dense if dense is not None else self._csr(str(stem))
        if x.ndim != 2 or x.dtype.kind not in "fiub" or 0 in x.shape:
            raise self.fault(f"x is {x.dtype} {x.shape}: expected numbers (N, D), a row for each node.")
        single = to_float32(x)
        if (bad := ~np.isfinite(single).all(1)).any():
            raise self.fault(
                f"x, row {int(bad.argmax())}: a feature is NaN, infinite or too large: expected finite numbers."
            )
        return torch.from_numpy(single)

    def _csr(self, stem: str) -> Array:
        from scipy.sparse import csr_matrix

        self._require(stem, CSR)
        data, shape = self.arrays[f"{stem}_data"], self.arrays[f"{stem}_shape"]
        if shape.shape != (2,) or shape.dtype.kind not in "iu" or np.prod(shape.astype(float)) > CELLS:
            raise self.fault(f"{stem}_shape is {shape.tolist()}: expected two numbers of at most {CELLS:,} cells.")
        indices, starts = self._columns(stem, int(shape[0]))
        if data.shape != indices.shape:
            raise self.fault(f"{stem}_data is {data.shape}, and {stem}_indices {indices.shape}: expected the same.")
        outside = (indices < 0) | (indices >= shape[1])
        if outside.any():
            row = int(np.searchsorted(starts, int(outside.argmax()), side="right")) - 1
            raise self.fault(
                f"{stem}, row {row}: column {indices[outside][0]}: expected columns from 0 to {shape[1] - 1}."
            )
        return np.asarray(csr_matrix((data, indices, starts), shape=tuple(shape.tolist())).toarray())

    def _columns(self, stem: str, rows: int) -> tuple[Array, Array]:
        """Return the columns of a CSR matrix's cells, and where each row of cells starts, the last number their end."""
        self._require(stem, CSR[1:3])
        indices, starts = (self.arrays[f"{stem}_{part}"] for part in CSR[1:3])
        for part, array in zip(CSR[1:3], (indices, starts), strict=True):
            if array.ndim != 1 or array.dtype.kind not in "iu":
                raise self.fault(f"{stem}_{part} is {array.dtype} {array.shape}: expected a list of integers.")
        starts = starts.astype(np.int64)
        if len(starts) != rows + 1 or starts[0] or starts[-1] != len(indices) or (np.diff(starts) < 0).any():
            raise self.fault(
                f"{stem}_indptr doesn't fit {rows} rows of {len(indices)} cells: expected {rows + 1} numbers that rise "
                f"from 0 to {len(indices)}."
            )
        return indices, starts

    def _require(self, stem: str, parts: Sequence[str]) -> None:
        """Refuse a CSR matrix without one of these arrays."""
        names = [f"{stem}_{part}" for part in parts]
        if missing := [name for name in names if name not in self.arrays]:
            raise self.fault(f"no array {missing[0]}: a CSR matrix has {', '.join(names)}.")

    def edges(self, nodes: int) -> Array:
        """Return the edges (E, 2), from and to: edges (E, 2), or edge_index (2, E), or adj_… of a CSR matrix."""
        name = next((name for name in ("edges", "edge_index", "adj_indices") if name in self.arrays), "")
        if not name:
            raise self.fault(f"no edges, only {', '.join(self.arrays)}: expected edges (E, 2) or edge_index (2, E).")
        if name == "adj_indices":
            indices, starts = self._columns("adj", nodes)
            edges = np.stack([np.repeat(np.arange(nodes), np.diff(starts)), indices.astype(np.int64)], 1)
        else:
            edges = self.arrays[name].T if name == "edge_index" else self.arrays[name]
        if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
            raise self.fault(f"{name} is {edges.dtype} {self.arrays[name].shape}: expected integers "
                             f"{'(2, E)' if name == 'edge_index' else '(E, 2)'}, two nodes for each edge.")  # fmt: skip
        outside = ((edges < 0) | (edges >= nodes)).any(1)
        if outside.any():
            row = int(outside.argmax())
            raise self.fault(
                f"{name}, row {row}: joins the nodes {edges[row].tolist()}, and there are {nodes}: expected numbers "
                f"from 0 to {nodes - 1}."
            )
        return edges.astype(np.int64)

    def is_directed(self) -> bool:
        """Return whether edges keep their directions: `directed`, one truth value; False if there is none."""
        value = self.first("directed")
        if value is not None and (value.size != 1 or value.dtype.kind not in "biu"):
            raise self.fault(f"directed is {value.dtype} {value.shape}: expected True or False.")
        return value is not None and bool(value.item())

    def labels(self, count: int, of: str = "nodes") -> tuple[Tensor, tuple[str, ...]]:
        """Return the classes (N,), -1 where it isn't known, and the classes' names."""
        y = self.first("y", "labels")
        if y is None:
            raise self.fault(f"no labels, only {', '.join(self.arrays)}: expected y (N,), a class for each of {of}.")
        if y.ndim != 1 or y.dtype.kind not in "iu" or len(y) != count:
            raise self.fault(f"y is {y.dtype} {y.shape}: expected integers ({count},), a class for each of the {of}.")
        names = self.first("class_names")
        names = None if names is None else np.atleast_1d(names)
        classes = min(int(y.max(initial=0)) + 1, count) if names is None else len(names)
        outside = (y < -1) | (y >= classes)
        if outside.any():
            row = int(outside.argmax())
            raise self.fault(f"y, row {row}: {y[row]}: expected classes from 0 to {classes - 1}, or -1 if unknown.")
        texts = tuple(map(str, range(classes) if names is None else names))
        if len({*texts}) < len(texts):
            raise self.fault(f"class_names are {', '.join(texts)}: expected each once.")
        return torch.from_numpy(y.astype(np.int64)), texts

    def rows(self, split: str, count: int) -> Tensor | None:
        """Return the numbers of a split: split or split_mask, a mask (N,) or numbers; None if there is none."""
        array = self.first(split, f"{split}_mask", f"{split}_idx")
        if array is None:
            return None
        if array.ndim != 1 or array.dtype.kind not in "biu" or not len(array):
            raise self.fault(f"{split} is {array.dtype} {array.shape}: expected a mask ({count},) or numbers.")
        if array.dtype == bool or (len(array) == count > 2 and {*array.tolist()} <= {0, 1}):
            if len(array) != count:
                raise self.fault(f"the mask {split} has {len(array)} rows: expected {count}.")
            array = array.nonzero()[0]
        outside = (array < 0) | (array >= count)
        if outside.any():
            row = int(outside.argmax())
            raise self.fault(f"{split}, row {row}: {array[row]}: expected numbers from 0 to {count - 1}.")
        if len(np.unique(array)) < len(array):
            numbers, counts = np.unique(array, return_counts=True)
            raise self.fault(f"{split} has {numbers[counts > 1][0]} twice: expected each once.")
        if not len(array):
            raise self.fault(f"{split} is empty: expected some.")
        return torch.from_numpy(np.sort(array).astype(np.int64))

    def splits(self, y: Tensor) -> dict[str, Tensor]:
        """Return the numbers of each split there is, all with labels; train: all labelled if there is none.

        Raises: DataError if two have a number in common, or one has a number without label.
        """
        found = {split: self.rows(split, len(y)) for split in SPLITS}
        splits = {split: rows for split, rows in found.items() if rows is not None}
        if "train" not in splits:
            if splits:
                raise self.fault(f"it has {', '.join(splits)} and no train: expected train, or no splits.")
            splits = {"train": (y >= 0).nonzero()[:, 0]}
        for split, rows in splits.items():
            if (y[rows] < 0).any():
                raise self.fault(f"{split} has {int(rows[y[rows] < 0][0])}, whose label isn't known (-1).")
        for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
            if one in splits and other in splits:
                common = splits[one][torch.isin(splits[one], splits[other])]
                if len(common):
                    raise self.fault(
                        f"{len(common)} of {one} are in {other} too, {int(common[0])} for instance: a split's samples "
                        "may be in no other."
                    )
        return splits


def in_both_directions(edges: Array, nodes: int, directed: bool) -> tuple[Tensor, list[str]]:
    """Return the edges (2, E) without repetitions and loops, sorted by target, and notes on what was changed.

    Edges are in both directions unless the graph is directed.
    """
    loops = edges[:, 0] == edges[:, 1]
    edges = edges[~loops]
    keys = np.unique(edges[:, 1] * nodes + edges[:, 0])
    reverse = np.unique(edges[:, 0] * nodes + edges[:, 1])
    notes = [f"{int(loops.sum())} edges join a node with itself; they are left out."] if loops.any() else []
    if len(keys) < len(edges):
        notes.append(f"{len(edges) - len(keys)} edges are repeated; each counts once.")
    mutual = int(np.isin(keys, reverse).sum())
    if not directed:
        if 0 < mutual < len(keys):
            notes.append(
                f"{len(keys) - mutual} of {len(keys)} edges lack the opposite one, which is added; save an array "
                "directed=True to keep directions."
            )
        keys = np.union1d(keys, reverse)
    ends = torch.from_numpy(np.stack([keys % nodes, keys // nodes]))
    lonely = nodes - len(ends.unique())
    if lonely:
        notes.append(f"{lonely} of {nodes} nodes are isolated: a graph network sees their features alone.")
    return ends, notes
