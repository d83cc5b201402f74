"""Documents of queries for learning to rank, in SVMlight text or .npz files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tutelage.data.graded import GradedSplit
from tutelage.data.listing import SPLITS, to_path
from tutelage.data.preparation import SourceData
from tutelage.data.query_files import QueryDocuments, read_letor, read_query_arrays, row_of_query
from tutelage.errors import ConfigError, DataError, plain

NAMES = {
    "letor:PATH": "documents of queries: a file of rows `grade qid:QUERY FEATURE:VALUE …`, or .npz with x, y, group; "
    "or a folder with such files named train, vali and test"
}

NAMES_OF_SPLITS = {split: (*names, *(("vali",) if split == "val" else ())) for split, names in SPLITS.items()}
SUFFIXES = (".txt", ".npz", ".dat", ".svm", "")


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.is_dir() and _file(path, "train") is not None


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Read the splits; a query's documents are in one of them."""
    path = to_path(where)
    if size is not None:
        raise ConfigError(f"data letor:{plain(path)}: size={size}: documents have no size; leave it out.")
    files = {split: _file(path, split) for split in NAMES_OF_SPLITS} if path.is_dir() else {"train": path}
    if files["train"] is None:
        raise DataError(f"{plain(path)}: no file train.txt or train.npz there; expected train, and vali and test.")
    documents = {
        split: read_query_arrays(file) if file.suffix == ".npz" else read_letor(file)
        for split, file in files.items()
        if file is not None
    }
    documents = _numbered_apart(documents)
    paths = {split: file for split, file in files.items() if file is not None}
    _refuse_shared_queries(paths, documents)
    columns = _columns(paths, documents)
    return SourceData(
        "ranking",
        (),
        (),
        "none",
        {split: _split(paths[split], part, columns) for split, part in documents.items()},
        modality="table",
        target="grades",
        input_names=tuple(f"feature {column}" for column in columns),
    )


def _file(folder: Path, split: str) -> Path | None:
    candidates = (folder / f"{name}{suffix}" for name in NAMES_OF_SPLITS[split] for suffix in SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _numbered_apart(documents: Mapping[str, QueryDocuments]) -> dict[str, QueryDocuments]:
    """Number the queries apart that have no numbers in their files."""
    if any(part.named for part in documents.values()):
        return dict(documents)
    first, result = 0, {}
    for split, part in documents.items():
        result[split] = replace(part, queries=part.queries + first)
        first = int(result[split].queries.max()) + 1
    return result


def _refuse_shared_queries(paths: Mapping[str, Path], documents: Mapping[str, QueryDocuments]) -> None:
    """Refuse a query that is in two files.

    Raises: DataError with file and row.
    """
    first_split: dict[int, str] = {}
    for split, part in documents.items():
        for query in np.unique(part.queries).tolist():
            if (other := first_split.setdefault(query, split)) != split:
                path = paths[split]
                row = np.flatnonzero(part.queries == query)[0] if path.suffix == ".npz" else row_of_query(path, query)
                raise DataError(
                    f"{plain(path)}, row {row}: the query {query} is also in {plain(paths[other])}: keep each query's "
                    "documents in one split, or figures will be too good."
                )


def _columns(paths: Mapping[str, Path], documents: Mapping[str, QueryDocuments]) -> list[int]:
    """Return the features' numbers; that of 0 only if a training document has it, since files count from 1 mostly.

    Raises: DataError if another split has features that train lacks.
    """
    features = documents["train"].features
    for split, part in documents.items():
        used = np.flatnonzero(part.features[:, features.shape[1] :].any(0))
        if len(used):
            raise DataError(
                f"{plain(paths[split])}: has the feature {features.shape[1] + used[0]}, and the documents of train "
                f"have features up to {features.shape[1] - 1}: use files of one data set."
            )
    return list(range(0 if features[:, 0].any() else 1, features.shape[1]))


def _split(path: Path, documents: QueryDocuments, columns: list[int]) -> GradedSplit:
    if not (documents.grades > 0).any():
        raise DataError(
            f"{plain(path)}: all grades are 0, so there is nothing to rank: grade relevant documents above."
        )
    missing = columns[-1] + 1 - documents.features.shape[1]
    features = np.pad(documents.features, ((0, 0), (0, max(0, missing))))[:, columns]
    groups = torch.from_numpy(documents.queries)
    return GradedSplit(torch.from_numpy(features), torch.from_numpy(documents.grades), groups=groups)
