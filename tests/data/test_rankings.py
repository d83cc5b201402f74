"""Data of rankings: splits of whole queries, and what is refused with its file and row."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage import data as datasets
from tutelage.data.graded import GradedSplit
from tutelage.errors import ConfigError, DataError


def rows(queries: range, documents: int = 5, features: int = 4, first: int = 1) -> str:
    """Rows of LETOR; the grade is that of the first feature."""
    rng = np.random.default_rng(queries.start)
    lines = []
    for query in queries:
        for grade in rng.integers(0, 3, documents):
            values = rng.normal(size=features)
            values[0] += grade
            numbers = " ".join(f"{k + first}:{value:.6f}" for k, value in enumerate(values))
            lines.append(f"{grade} qid:{query} {numbers} # doc")
    return "\n".join(lines) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, queries in (("train", range(20)), ("vali", range(20, 26)), ("test", range(26, 34))):
        (tmp_path / f"{name}.txt").write_text(rows(queries))
    return tmp_path


def test_a_folder_of_three_files(folder: Path) -> None:
    data = datasets.load(f"letor:{folder}")
    assert (data.task, data.target, data.modality, data.channels, data.size) == ("ranking", "grades", "table", 4, ())
    assert [len(getattr(data, split)) for split in ("train", "val", "test")] == [100, 30, 40]
    batch = next(data.batches("test", 12))
    assert batch.inputs.shape == (10, 4)
    assert batch.targets.dtype == torch.float32
    assert batch.extras["groups"].tolist() == [26] * 5 + [27] * 5


def test_features_are_normalised_and_zero_based_files_keep_their_first(folder: Path, tmp_path: Path) -> None:
    inputs = torch.cat([batch.inputs for batch in datasets.load(f"letor:{folder}").batches("train", 64)])
    torch.testing.assert_close(inputs.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)
    (tmp_path / "zero.txt").write_text(rows(range(20), first=0))
    data = datasets.load(f"letor:{tmp_path / 'zero.txt'}")
    assert data.channels == 4
    assert data.input_names[0] == "feature 0"


def test_batches_and_parts_have_whole_queries(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(rows(range(40)))
    data = datasets.load(f"letor:{tmp_path / 'one.txt'}", limit=50)
    groups = [set(getattr(data, split).groups.tolist()) for split in ("train", "val", "test")]
    assert len(set.union(*groups)) == sum(map(len, groups))
    assert len(data.train) == 5 * len(groups[0]) == 50
    batches = list(data.batches("train", 12, seed=3, epoch=2))
    assert len(batches) == data.steps(12)
    assert all(len(batch) in (5, 10) for batch in batches)
    counts = [batch.extras["groups"].unique(return_counts=True)[1] for batch in batches]
    assert all((count == 5).all() for count in counts)
    again = list(data.batches("train", 12, seed=3, epoch=2, start=2))
    assert [b.index.tolist() for b in again] == [b.index.tolist() for b in batches[2:]]


def test_npz_numbers_queries_apart(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), np.arange(20) % 3
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", x=x, y=y, group=[5] * 4)
    data = datasets.load(f"letor:{tmp_path}")
    groups = [set(getattr(data, split).groups.tolist()) for split in ("train", "val", "test")]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 8


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train.txt": None}, "no file train.txt or train.npz there"),
        ({"train.txt": "1 qid:1 1:x\n"}, "train.txt, row 1: feature 1 is 'x', expected a finite number"),
        ({"test.txt": rows(range(26, 28)) + "9 qid:x 1:1\n"}, "test.txt, row 11: the query 'x'"),
        ({"test.txt": rows(range(26, 28)) + "bad qid:40 1:1\n"}, "test.txt, row 11: the grade 'bad'"),
        ({"test.txt": rows(range(26, 28)) + "0 qid:40 1:nan\n"}, "test.txt, row 11: feature 1 is 'nan'"),
        ({"test.txt": rows(range(26, 28)) + "0 qid:40 2:1 1:1\n"}, "test.txt, row 11: feature 1 comes after feature 2"),
        ({"test.txt": rows(range(26, 28)) + "0 qid:40 1\n"}, "test.txt, row 11: '1', expected FEATURE:VALUE"),
        ({"vali.txt": "# c\n" + rows(range(19, 21))}, "vali.txt, row 2: the query 19 is also in .*train.txt"),
        ({"test.txt": rows(range(20, 22))}, "test.txt, row 1: the query 20 is also in .*vali.txt"),
        ({"test.txt": rows(range(26, 28), features=6)}, "test.txt: has the feature 5, and the documents of train have"),
        ({"vali.txt": "".join(f"0 qid:{q} 1:1\n" for q in (20, 21))}, "vali.txt: all grades are 0"),
        ({"vali.txt": ""}, "vali.txt: has no documents"),
    ],
)
def test_bad_folders_are_refused_with_file_and_row(folder: Path, files: dict[str, str | None], message: str) -> None:
    for name, text in files.items():
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)
    with pytest.raises(DataError, match=message):
        datasets.load(f"letor:{folder}")


def test_bad_arrays_name_their_file(folder: Path) -> None:
    (folder / "train.txt").unlink()
    np.savez(folder / "train.npz", x=np.ones((4, 4)), y=np.ones(4), group=[4, 0])
    with pytest.raises(DataError, match=r"train\.npz: row 1, group is 0, expected one document or more"):
        datasets.load(f"letor:{folder}")


def test_keys_that_do_not_fit(folder: Path) -> None:
    with pytest.raises(ConfigError, match="documents have no size"):
        datasets.load(f"letor:{folder}", size=8)
    with pytest.raises(ConfigError, match="is for ranking, not for classification"):
        datasets.load(f"letor:{folder}", task="classification")
    with pytest.raises(ConfigError, match="labels_per_class"):
        datasets.load(f"letor:{folder}", labels_per_class=3)
    with pytest.raises(ConfigError, match=re.escape(f"letor:{folder}")):
        datasets.load(str(folder))


# interactions


def log(path: Path, users: int = 12, items: int = 30, each: int = 6) -> Path:
    rng = np.random.default_rng(0)
    lines = ["user,item,time"]
    for user in range(users):
        lines += [f"u{user},i{item},{t}" for t, item in enumerate(rng.choice(items, each, replace=False))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_interactions_become_queries(tmp_path: Path) -> None:
    path = log(tmp_path / "log.csv")
    data = datasets.load(f"interactions:{path}")
    assert (data.task, data.channels, data.mean, data.std) == ("ranking", 12, (0.0,) * 12, (1.0,) * 12)
    assert isinstance(data.test, GradedSplit)
    assert [len(getattr(data, split).groups.unique()) for split in ("train", "val", "test")] == [36, 12, 12]
    batch = next(data.batches("test", 1))
    lines = [line.split(",") for line in path.read_text().splitlines()[1:]]
    taken = [item for user, item, _ in lines if user == "u0"]
    names = sorted({item for _, item, _ in lines})
    numbers = [names.index(item) + 1 for item in taken]
    assert batch.inputs[0].tolist() == [1, numbers[-1], 0, 0, 0, 0, 0, *numbers[:-1]]
    assert batch.targets.tolist() == [1] + [0] * (len(batch) - 1)
    assert not {*batch.inputs[1:, 1].int().tolist()} & {*numbers}
    assert len({*batch.inputs[:, 1].tolist()}) == len(batch)
    assert any(f"mf16-12x{len(names)}" in note and f"gru16-{len(names)}" in note for note in data.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item,time\nu,i,1\nu,j,x\n", "log.csv, row 3: the time is 'x'"),
        ("user,item,time\nu,i,1\nu,,2\n", "log.csv, row 3: the item is empty"),
        ("user,item,time\nu,i,1\nu,j,2\nu,k,3\n", "log.csv: 3 interactions of 1 users with 3 items leave nothing"),
        ("user,item,time\n" + "".join(f"u,i{k},{k}\n" for k in range(5)), "log.csv: 5 interactions of 1 users"),
    ],
)
def test_bad_interactions_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        datasets.load(f"interactions:{tmp_path / 'log.csv'}")
