"""The report's section of search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage.report.components import Figure, MissingDataError, Section
from tutelage.report.run_record import PhaseRecord, RunRecord
from tutelage.tasks.retrieval_metrics import search
from tutelage.tasks.search_section import search_results

TARGETS = torch.arange(40) % 4


def phase(role: str, vectors: Tensor, order: Tensor | None = None) -> PhaseRecord:
    order = torch.arange(40) if order is None else order
    arrays = {"index": order, "targets": TARGETS[order], "embeddings": vectors[order]}
    return PhaseRecord(role, role, {}, [], {name: x.numpy() for name, x in arrays.items()})


def rows_of(*phases: PhaseRecord) -> list[list[Any]]:
    result = {"metric": "recall_at_1", **{role: {} for role in ("teacher", "baseline", "student")}}
    section = search_results(RunRecord(Path(), result, phases=[*phases]))
    assert isinstance(section, Section)
    (figure,) = section.blocks
    assert isinstance(figure, Figure)
    assert figure.table is not None
    return [list(map(str, row)) for row in figure.table.rows]


def clustered(noise: float) -> Tensor:
    return torch.eye(6)[TARGETS] + noise * torch.randn(40, 6)


def test_queries_search_in_their_own_gallery_and_in_the_teachers() -> None:
    teacher, alone, taught = clustered(0.1), torch.randn(40, 6), clustered(0.2)
    rows = rows_of(phase("teacher", teacher), phase("baseline", alone), phase("student", taught))
    assert [row[:2] for row in rows] == [
        ["Teacher", "Teacher"], ["Alone", "Alone"], ["Taught", "Taught"], ["Alone", "Teacher"], ["Taught", "Teacher"],
    ]  # fmt: skip
    for row, pair in zip(rows, [(teacher,) * 2, (alone,) * 2, (taught,) * 2, (alone, teacher), (taught, teacher)],
                         strict=True):  # fmt: skip
        values = search(*pair, TARGETS)
        assert [float(text.replace("\u00a0", "").rstrip("%")) for text in row[2:]] == pytest.approx(
            [100 * float(value) for value in values.values()], abs=0.06
        )


def test_samples_are_matched_by_their_index_and_seeds_are_averaged() -> None:
    teacher, taught = clustered(0.1), clustered(0.3)
    direct = rows_of(phase("teacher", teacher), phase("student", taught))
    shuffled = rows_of(phase("teacher", teacher), phase("student", taught, torch.randperm(40)))
    assert direct == shuffled
    twice = rows_of(phase("teacher", teacher), phase("student", taught), phase("student", taught))
    assert direct == twice


def test_vectors_of_another_length_cant_be_searched() -> None:
    rows = rows_of(phase("teacher", torch.randn(40, 9)), phase("student", clustered(0.1)))
    assert rows[-1][1:3] == ["Teacher", "other length"]


def test_without_vectors_there_is_no_section() -> None:
    with pytest.raises(MissingDataError, match=r"it needs predictions\.npz"):
        rows_of(PhaseRecord("student", "student", {}, []))
