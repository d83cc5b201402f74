"""Published figures stand beside ours: compared where the protocol was followed, and nowhere else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tutelage.study import exports, leaderboard, page, published, tables
from tutelage.study.leaderboard import Leaderboard
from tutelage.study.protocols import find

DATA = {"name": "CIFAR-100", "classes": 100, "train": 49_900, "val": 100, "test": 10_000}
Trials = list[dict[str, Any]]


@pytest.fixture
def under(trial: Callable[..., dict[str, Any]]) -> Callable[..., Leaderboard]:
    """A leaderboard of resnet32x4 → resnet8x4 under a protocol, of figures that are made up."""

    def build(name: str = "crd_cifar100", seeds: int = 3, data: dict[str, Any] = DATA, **keys: Any) -> Leaderboard:
        rows = {"alone": 0.725, "kd": 0.7333, "at": 0.70, "mine": 0.74}
        trials = [
            trial("alone" if m == "alone" else "method", "resnet8x4", m, seed, value + 0.001 * (seed - 1),
                  teacher="" if m == "alone" else "resnet32x4")
            for m, value in rows.items() for seed in range(seeds)
        ] + [trial("teacher", "resnet32x4", "", 0, 0.79)]  # fmt: skip
        board = leaderboard.build(trials)
        followed = published.follow(name, {**find(name).keys, **keys}, data)
        return replace(board, protocol=followed, rows=published.with_figures(board.rows, name))

    return build


def table(board: Leaderboard) -> dict[str, dict[str, str]]:
    assert board.protocol is not None
    text = exports.to_csv(exports.published(board, board.protocol))
    return {row["method"] or row["role"]: row for row in csv.DictReader(io.StringIO(text))}


def test_figures_are_compared_where_the_protocol_was_followed(under: Callable[..., Leaderboard]) -> None:
    rows = table(under())
    assert float(rows["kd"]["published"]) == pytest.approx(0.7333)
    assert float(rows["kd"]["difference"]) == pytest.approx(0, abs=1e-9)
    assert (rows["kd"]["holds"], rows["at"]["holds"], rows["mine"]["holds"]) == ("True", "False", "")
    assert float(rows["at"]["difference"]) == pytest.approx(0.70 - 0.7344)
    assert float(rows["teacher"]["published"]) == pytest.approx(0.7942)
    assert float(rows["alone"]["published"]) == pytest.approx(0.7250)
    assert rows["mine"]["source"] == "nothing is published"
    assert "RepDistiller (read; epoch: not stated)" in rows["kd"]["source"]


def test_one_seed_has_no_interval(under: Callable[..., Leaderboard]) -> None:
    board = under(seeds=1)
    rows = table(board)
    assert (rows["kd"]["low"], rows["kd"]["holds"]) == ("", "")
    assert board.protocol is not None
    assert "| one seed |" in exports.to_markdown(exports.published(board, board.protocol))


@pytest.mark.parametrize(
    ("keys", "heading"),
    [
        ({"epochs": 10}, "crd_cifar100, shortened: epochs 10 of 240"),
        ({"batch_size": 128}, "crd_cifar100, changed: batch_size 128 in place of 64"),
        ({"data": DATA | {"train": 4900}}, "crd_cifar100, changed: 5000 train samples of 50000"),
        ({"data": DATA | {"classes": 10}}, "crd_cifar100, changed: 10 classes of 100"),
        ({"data": DATA | {"test": None}}, "crd_cifar100, changed: 0 test samples of 10000"),
        ({"keep": "best"}, "crd_cifar100, changed: keep best"),
    ],
)
def test_a_changed_protocol_is_named_and_not_compared(
    under: Callable[..., Leaderboard], keys: dict[str, Any], heading: str
) -> None:
    board = under(**keys)
    assert board.protocol is not None
    assert (board.protocol.heading, board.protocol.is_comparable) == (heading, False)
    rows = table(board)
    assert float(rows["kd"]["published"]) == pytest.approx(0.7333)
    assert (rows["kd"]["difference"], rows["kd"]["holds"]) == ("", "")
    text = exports.to_markdown(exports.published(board, board.protocol))
    assert "not comparable" in text
    assert "aren't compared" in text
    assert exports.escape_markdown(heading) in exports.to_markdown(exports.figures(board))


def test_the_test_figure_that_is_ours_is_named(under: Callable[..., Leaderboard]) -> None:
    last, best = under().protocol, under(keep="best").protocol
    assert last is not None
    assert best is not None
    assert "the last epoch's network, on test" in last.about
    assert "best on validation, on test" in best.about


def test_a_small_version_shows_no_published_figure(under: Callable[..., Leaderboard], tmp_path: Path) -> None:
    board = under("crd_cifar100_small")
    assert all(row.published is None for row in board.rows)
    assert not [path for path in exports.write(board, tmp_path) if path.stem == "published"]
    text = page.render(board, tmp_path)
    assert "a small version of crd_cifar100, with whose published figures it can" in text
    assert not tables.published(board, tmp_path).blocks
    shortened = under("crd_cifar100_small", epochs=3).protocol
    assert shortened is not None
    assert shortened.heading.endswith("it can't be compared, shortened: epochs 3 of 12")


def test_files_and_page_have_the_table(under: Callable[..., Leaderboard], tmp_path: Path) -> None:
    board = under()
    names = {path.name for path in exports.write(board, tmp_path)}
    assert {"published.md", "published.tex", "published.csv", "published.json"} <= names
    rows = json.loads((tmp_path / "published.json").read_text())["rows"]
    assert {row["method"]: row["holds"] for row in rows}["kd"] is True
    assert json.loads((tmp_path / "leaderboard.json").read_text())["protocol"]["name"] == "crd_cifar100"
    text = page.render(board, tmp_path)
    assert "Published and ours: crd_cifar100" in text
    assert "73.33" in text


def test_a_study_without_a_protocol_has_no_such_table(under: Callable[..., Leaderboard], tmp_path: Path) -> None:
    board = replace(under(), protocol=None)
    assert "Published and ours" not in page.render(board, tmp_path)
    assert not [path for path in exports.write(board, tmp_path) if path.stem == "published"]
