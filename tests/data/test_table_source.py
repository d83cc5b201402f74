"""Tables by name: splits, encodings fitted to the training split, classes and values."""

import json

import numpy as np
import pytest
import torch

from tutelage import data as datasets
from tutelage.data.table_encoding import TableEncoding
from tutelage.data.table_files import read_table
from tutelage.errors import ConfigError, DataError


@pytest.fixture
def file(tmp_path):
    generator = np.random.default_rng(0)
    numbers, colours = generator.normal(size=(60, 2)), generator.choice(["red", "blue"], 60)
    rows = []
    for i, ((a, b), colour) in enumerate(zip(numbers, colours, strict=True)):
        price, kind = 2 * a + (colour == "red"), "yes" if a > 0 else "no"
        rows.append(f"{a:.3f},{'' if i % 7 == 0 else round(b, 3)},{colour},{price:.3f},{kind},{i % 3}")
    path = tmp_path / "t.csv"
    path.write_text("a,b,colour,price,kind,grade\n" + "\n".join(rows) + "\n")
    return path


def load(file, **options):
    return datasets.load(f"csv:{file}", **options)


def test_values(file):
    data = load(file, target="price", drop=["kind"])
    assert data.task == "regression"
    assert data.input_names == ("a", "b", "b (missing)", "colour=blue", "colour=red", "grade")
    assert data.channels == 6
    assert data.values.names == ("price",)
    assert (len(data.train), len(data.val), len(data.test)) == (43, 5, 12)
    batch = next(data.batches("train", 43))
    assert batch.inputs.isfinite().all()
    assert batch.inputs.mean(0).abs().max() < 1e-5


def test_classes(file):
    data = load(file, target="kind", drop=["price"])
    assert data.task == "classification"
    assert data.classes == ("no", "yes")
    numbers = load(file, target="grade", task="classification")
    assert numbers.classes == ("0", "1", "2")
    assert load(file, target="grade").task == "regression"
    assert load(file, target=["price", "grade"]).values.names == ("price", "grade")


def test_the_encoding_ignores_validation_and_test(file):
    data = load(file, target="price", drop=["kind", "a", "grade"])
    encoding = TableEncoding.from_json(data.encoding)
    table = read_table(file)
    train = data.train.rows.tolist()
    present = table.columns["b"].numbers[train]
    assert encoding.columns[0].median == np.nanmedian(present)
    assert json.loads(data.encoding)[1]["categories"] == ["blue", "red"]
    lines = file.read_text().splitlines()
    test = int(data.test.rows[0]) + 1
    cells = lines[test].split(",")
    lines[test] = ",".join(["1000", "1000", "green", *cells[3:]])
    file.write_text("\n".join(lines))
    changed = load(file, target="price", drop=["kind", "a", "grade"])
    assert changed.encoding == data.encoding
    assert changed.test.inputs[test - 1, 2:].tolist() == [0, 0]


def test_groups_stay_together(file):
    data = load(file, target="price", group="grade")
    kept = [{*split.groups.tolist()} for split in (data.train, data.val, data.test)]
    assert sum(map(len, kept)) == 3
    assert "grade" not in data.input_names


def test_parquet(file, tmp_path):
    pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet

    parquet.write_table(csv.read_csv(file), tmp_path / "t.parquet")
    data = datasets.load(f"parquet:{tmp_path / 't.parquet'}", target="price", drop=["kind"])
    assert data.encoding == load(file, target="price", drop=["kind"]).encoding
    assert torch.equal(data.train.inputs, load(file, target="price", drop=["kind"]).train.inputs)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ConfigError, "name the column to estimate: target=grade"),
        ({"target": "prise"}, ConfigError, "did you mean 'price'"),
        ({"target": "price", "drop": ["x"]}, ConfigError, "unknown column 'x'"),
        ({"target": ["price", "kind"]}, DataError, "line 2, column 'kind'"),
        ({"target": ["price", "kind"], "task": "classification"}, ConfigError, "one column of classes"),
        ({"target": "kind", "task": "regression"}, DataError, "expected a number"),
        ({"target": "b"}, DataError, r"line 2, column 'b': the target is missing \(9 of 60\)"),
        ({"target": "price", "size": 8}, ConfigError, "rows of tables have no size"),
        ({"target": "price", "drop": ["a", "b", "colour", "kind", "grade"]}, ConfigError, "no column left"),
        ({"target": "price", "drop": ["kind"], "task": "segmentation"}, ConfigError, "is for regression, not for"),
    ],
)
def test_options_that_do_not_fit(file, options, error, message):
    with pytest.raises(error, match=message):
        load(file, **options)


def test_a_number_in_each_row_is_no_class(file):
    text = file.read_text().splitlines()
    rows = [text[0] + ",id", *(f"{line},{k}x" for k, line in enumerate(text[1:] * 4))]
    file.write_text("\n".join(rows))
    with pytest.raises(ConfigError, match="240 different values in 240 rows"):
        load(file, target="id")


def test_too_few_rows(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,2\n3,4\n")
    with pytest.raises(DataError, match="has 2 rows: expected 10"):
        load(tmp_path / "t.csv", target="y")
