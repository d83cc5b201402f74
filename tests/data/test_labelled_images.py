"""Images beside a CSV file: classes, label sets and values; what can't be meant is refused with its line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage import data as datasets
from tutelage.errors import ConfigError, DataError

COUNT = 24


def load(tmp_path, rows: str, header: str = "file,label", side: int = 8, **options):
    """Load images i00.png … whose value is 10·i, and a file of these rows; {i} stands for each image's number."""
    for i in range(COUNT):
        pixels = np.full((side, side, 3), 10 * i, np.uint8)
        pixels[: -(-side // 20), : -(-side // 20)] = 255 - 10 * i
        Image.fromarray(pixels).save(tmp_path / f"i{i:02d}.png")
    (tmp_path / "t.csv").write_text(header + "\n" + rows)
    return datasets.load(f"labelled-images:{tmp_path / 't.csv'}", **options)


def lines(form: str) -> str:
    """Return a line for each image; {i}: its number, {p}: its parity, {s}: its split."""
    splits = ["train"] * (COUNT - 8) + ["val"] * 4 + ["test"] * 4
    return "".join(form.format(i=i, p=i % 2, s=splits[i]) + "\n" for i in range(COUNT))


GOOD = lines("i{i:02d}.png,c{p}")


def test_one_column_is_of_classes(tmp_path):
    data = load(tmp_path, GOOD)
    assert (data.task, data.classes, data.size) == ("classification", ("c0", "c1"), (8, 8))
    batch = next(data.batches("train", 50, train=False))
    values = (batch.inputs[:, 0, 4, 4] * data.std[0] + data.mean[0]) * 25.5
    assert (values.round().long() % 2).equal(batch.targets)


def test_the_column_split_is_followed(tmp_path):
    data = load(tmp_path, lines("i{i:02d}.png,c{p},{s}"), "file,label,split")
    assert [len(x) for x in (data.train, data.val, data.test)] == [16, 4, 4]


def test_a_column_of_lists_and_a_column_for_each_label_are_label_sets(tmp_path):
    listed = load(tmp_path, lines("i{i:02d}.png,all; c{p}"), "file,labels")
    assert (listed.task, listed.classes) == ("multi_label", ("all", "c0", "c1"))
    batch = next(listed.batches("train", 50, train=False))
    assert batch.targets.dtype == torch.float32
    assert batch.targets[:, 0].eq(1).all()
    assert (batch.targets[:, 1] + batch.targets[:, 2]).eq(1).all()
    columns = load(tmp_path, lines("i{i:02d}.png,1,{p},").replace("i03.png,1", "i03.png,0"), "file,a,b,c")
    assert (columns.task, columns.classes) == ("multi_label", ("a", "b", "c"))
    sets = torch.cat([part.values for part in (columns.train, columns.val, columns.test)])
    assert sets[:, 0].sum() == COUNT - 1
    assert sets[:, 2].eq(-1).all()


@pytest.mark.parametrize(("side", "size"), [(8, 8), (160, 16)])
def test_a_target_is_estimated_from_the_whole_image(tmp_path, side, size):
    data = load(tmp_path, lines("i{i:02d}.png,{i},x"), "file,n,note", side, target="n", drop=["note"], size=size)
    assert (data.task, data.augment, data.modality) == ("regression", "none", "image")
    batch = next(data.batches("test", 50))
    values = (batch.inputs[:, 0, 4, 4] * data.std[0] + data.mean[0]) * 25.5
    assert torch.allclose(values.double(), data.values.restore(batch.targets)[:, 0], atol=0.1)
    corner = (batch.inputs[:, 0, 0, 0] * data.std[0] + data.mean[0]) * 25.5
    assert not torch.allclose(corner, values, atol=0.01)  # a crop would lose it


def test_names_may_lack_the_suffix_and_images_be_in_a_folder(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(COUNT):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / "images" / f"n{i}.png")
    (tmp_path / "t.csv").write_text("id,split,count\n" + lines("n{i},{s},{i}"))
    data = datasets.load(f"labelled-images:{tmp_path / 't.csv'}", target="count")
    assert (data.task, data.channels, len(data.train)) == ("regression", 1, 16)


def test_groups_stay_together_and_change_the_fingerprint(tmp_path):
    rows = "".join(f"i{i:02d}.png,c{i % 2},p{i // 4}\n" for i in range(COUNT))
    data = load(tmp_path, rows, "file,label,person", side=100, group="person")
    assert not {*data.train.groups.tolist()} & {*data.test.groups.tolist()}
    other = load(tmp_path, rows.replace("p5", "p4"), "file,label,person", 100, group="person")
    assert data.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("rows", "header", "options", "message"),
    [
        (GOOD.replace("i03.png", "i99.png"), "file,label", {}, "t.csv, line 5: there is no image 'i99.png'"),
        (GOOD.replace("i03.png", ""), "file,label", {}, "line 5: there is no image ''"),
        (GOOD.replace("i03.png", "i02.png"), "file,label", {}, "line 5: the image 'i02.png' is that of line 4 too"),
        (GOOD.replace("i03.png,c1", "i03.png,"), "file,label", {}, "line 5: label is '': expected one class"),
        (GOOD.replace("i03.png,c1", "i03.png,c1;c0"), "file,label", {}, "to list several, call the column labels"),
        (GOOD.replace("i03.png,c1", "i03.png"), "file,label", {}, "line 5: 1 cells, and the header has 2"),
        (lines("i{i:02d}.png,c{p},{s}").replace("i23.png,c1", "i23.png,c7"), "file,label,split", {},
         "line 25: no training row has the label 'c7', only c0, c1"),
        (lines("i{i:02d}.png,c{p},{s}").replace("i23.png,c1", "i23.png,c1;z"), "file,labels,split", {},
         "line 25: no training row has the label 'z'"),
        (lines("i{i:02d}.png,c{p},{s}").replace("val", "dev"), "file,label,split", {}, "line 18: split is 'dev'"),
        (lines("i{i:02d}.png,c{p},test"), "file,label,split", {}, "no row's split is train"),
        (lines("i{i:02d}.png,{i},{s}").replace("3,train", "x,train", 1), "file,n,split", {"target": "n"},
         "line 5: the target n is 'x': expected a finite number"),
        (lines("i{i:02d}.png,{i}").replace("png,3\n", "png,nan\n"), "file,n", {"target": "n"}, "n is 'nan'"),
        (lines("i{i:02d}.png,7"), "file,n", {"target": "n"}, "the target n is 7 in all"),
        (lines("i{i:02d}.png,{p},1").replace("i03.png,1", "i03.png,2"), "file,a,b", {}, "line 5: a is '2': expected 1"),
        (lines("i{i:02d}.png,"), "file,labels", {}, "the column labels is empty in each training row"),
        (lines("i{i:02d}.png,{s}"), "file,split", {}, "has no column beside that of files"),
        (GOOD, "picture,label", {}, "the columns are picture, label: expected one that is called file"),
        (GOOD, "file,file", {}, "two or more different column names"),
        (GOOD, "file,label", {"target": "n"}, "unknown column 'n'"),
        (GOOD, "file,n", {"target": ["n", "n"]}, "'n' is named twice"),
        (GOOD.replace("i03.png", "x" * 5000), "file,label", {}, "line 5: there is no image 'xxx"),
        (lines("i{i:02d}.png,c{p},g{i}").replace(",g3\n", ",\n"), "file,label,who", {"group": "who"},
         "line 5: who is empty: expected the name of the sample's group"),
        ("", "file,label", {}, "has no rows under the header"),
        ('"', "file,label", {}, "can't be read as CSV"),
    ],
)  # fmt: skip
def test_files_that_cant_be_meant_are_refused(tmp_path, rows, header, options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        load(tmp_path, rows, header, **options)


def test_an_empty_file_and_a_missing_one_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("")
    with pytest.raises(DataError, match="the header is"):
        datasets.load(f"labelled-images:{tmp_path / 't.csv'}")
    with pytest.raises(DataError, match="can't be read as CSV"):
        datasets.load(f"labelled-images:{tmp_path / 'none.csv'}")


def test_a_broken_image_is_named(tmp_path):
    name = load(tmp_path, GOOD).name
    (tmp_path / "i05.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"i05\.png: can't be read"):
        datasets.load(name)


def test_a_dropped_split_isnt_used(tmp_path):
    rows = lines("i{i:02d}.png,c{p},{s}")
    kept, dropped = (load(tmp_path, rows, "file,label,split", 8, drop=drop) for drop in ([], ["split"]))
    assert len(kept.test) != len(dropped.test)
    assert len(dropped.train) + len(dropped.val) + len(dropped.test) == COUNT
