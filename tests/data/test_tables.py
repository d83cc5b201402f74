"""Tables: what can't be meant is refused with its file, line and column; groups stay together."""

from __future__ import annotations

import pytest
import torch

from tutelage import data as datasets
from tutelage.data.grouping import group_numbers, refuse_shared_groups, split_groups
from tutelage.data.splits import InMemorySplit
from tutelage.errors import ConfigError, DataError

GOOD = "a,b,y\n" + "".join(f"{i},{i % 3},{2 * i}\n" for i in range(20))


def load(tmp_path, text: str, **options):
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return datasets.load(f"csv:{tmp_path / 't.csv'}", **({"target": "y"} | options))


def test_columns_are_inputs_and_targets(tmp_path):
    data = load(tmp_path, GOOD, drop=["b"])
    assert (data.task, data.channels, data.size, data.input_names) == ("regression", 1, (), ("a",))
    batch = next(data.batches("train", 100, train=False))
    raw = data.values.restore(batch.targets)[:, 0]
    assert torch.allclose(batch.inputs[:, 0] * data.std[0] + data.mean[0], raw.float() / 2, atol=1e-4)
    assert (len(data.train), len(data.val), len(data.test)) == (14, 2, 4)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (GOOD, {"target": None}, "name the column to estimate: target=y, for instance"),
        (GOOD, {"target": "x"}, "unknown column 'x'"),
        (GOOD, {"target": ["a", "b", "y"]}, "no column left for the inputs"),
        (GOOD, {"drop": ["c"]}, "unknown column 'c'"),
        (GOOD, {"target": ["y", "y"]}, "'y' is named twice"),
        (GOOD, {"drop": ["y"]}, "'y' is named twice"),
        (GOOD.replace("3,0,6", "3,,6"), {"group": "b"}, "row 3: b is empty"),
        (GOOD, {"group": "c"}, "unknown column 'c'"),
        (GOOD, {"size": 8}, "rows of tables have no size"),
        (GOOD.replace("3,0,6", "3,0"), {}, "t.csv, line 5: 2 cells, but the header has 3 columns"),
        (GOOD.replace("3,0,6", "inf,0,6"), {}, "line 5, column 'a': an infinite number"),
        (GOOD.replace("a,b", "a,a"), {}, "columns 1, 2 have one name"),
        ("a,b,y\n1,2,3\n", {}, "has 1 rows: expected 10 or more"),
        ("", {}, "no header in line 1"),
        (b"\xff\xfe\x00", {}, "isn't UTF-8"),
        ('a,b,y\n"1,2,3\n' + GOOD, {}, "line 2: unexpected end of data"),
        ("a,y\n" + "".join(f"{i},7\n" for i in range(20)), {}, "the target y is 7 in all 14"),
        (GOOD, {"augment": "crop-flip"}, "augment=crop-flip isn't for table data"),
        (GOOD, {"classes": ["a", "b"]}, "has no single class per sample"),
        (GOOD, {"labels_per_class": 2}, "requires a single class per sample"),
    ],
)  # fmt: skip
def test_tables_that_cant_be_meant_are_refused(tmp_path, text, options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        load(tmp_path, text, **options)


def test_options_of_tables_are_refused_for_other_data():
    with pytest.raises(ConfigError, match=r"data 'digits': target=…, drop=…: it has no such options"):
        datasets.load("digits", target="y", drop=["a"])


def test_groups_stay_in_one_split(tmp_path):
    rows = "".join(f"{i},{i // 4},{2 * i}\n" for i in range(80))
    data = load(tmp_path, "a,g,y\n" + rows, group="g")
    assert data.channels == 1
    groups = [{*split.groups.tolist()} for split in (data.train, data.val, data.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    batch = next(data.batches("val", 100, train=False))
    assert batch.extras["groups"].equal(data.val.groups)
    assert [*data.val.take(torch.tensor([0])).groups] == [data.val.groups[0]]
    with pytest.raises(DataError, match="all samples are of one group"):
        load(tmp_path, "a,g,y\n" + "".join(f"{i},0,{i}\n" for i in range(20)), group="g")


def test_whole_groups_are_cut_off_the_same_for_a_seed():
    groups = group_numbers(list("aabbbcdddd"))
    assert groups.tolist() == [0, 0, 1, 1, 1, 2, 3, 3, 3, 3]
    rest, rows = split_groups("x", "val", groups, 3, seed=1)
    assert {*groups[rest].tolist()}.isdisjoint(groups[rows].tolist())
    assert len(rest) + len(rows) == 10
    assert len(rows) >= 3 or len({*groups[rest].tolist()}) == 1
    assert split_groups("x", "val", groups, 3, seed=1)[1].equal(rows)


def test_a_group_in_two_splits_is_refused():
    splits = {
        name: InMemorySplit(torch.zeros(2, 1), torch.zeros(2, 1), groups=torch.tensor(groups))
        for name, groups in {"train": [0, 1], "test": [1, 2]}.items()
    }
    with pytest.raises(DataError, match=r"1 group\(s\) have samples in both test and train"):
        refuse_shared_groups("x", splits)
