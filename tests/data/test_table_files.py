"""Tables from CSV and Parquet files, and their columns as inputs."""

import json
from datetime import date

import numpy as np
import pytest
import torch

from tutelage.data.table_encoding import TableEncoding, fit_encoding, read_labels, read_values, sorted_classes
from tutelage.data.table_files import read_table
from tutelage.errors import DataError


@pytest.fixture
def table(tmp_path):
    def write(text, name="t.csv"):
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
        return read_table(tmp_path / name)

    return write


def numbers(table, name):
    return table.columns[name].numbers.tolist()


def test_numbers_texts_and_missing_cells(table):
    t = table("age,colour,y\n30,red,1.5\n,NA,-2e3\nNaN, blue ,.5\n")
    assert np.isnan(numbers(t, "age")).tolist() == [False, True, True]
    assert t.columns["colour"].texts == ("red", None, "blue")
    assert t.columns["colour"].missing.tolist() == [False, True, False]
    assert numbers(t, "y") == [1.5, -2000.0, 0.5]
    assert t.rows == [2, 3, 4]
    assert not t.notes


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_delimiters_marks_and_line_ends(table, delimiter, start, end):
    lines = [delimiter.join(cells).encode() for cells in (["a", '"b,;"'], ["1", '"x\ny"'], ["2", '"say ""hi"""'])]
    t = table(start + end.join(lines) + end)
    assert list(t.columns) == ["a", "b,;"]
    assert t.columns["b,;"].texts == ("x\ny", 'say "hi"')
    assert t.rows == [2, 4]


def test_decimal_commas(table):
    t = table("a;b\n1,5;x,1\n-2;y\n")
    assert numbers(t, "a") == [1.5, -2.0]
    assert t.columns["b"].texts == ("x,1", "y")
    assert "decimal commas" in t.notes[0]


def test_what_looks_like_a_number_for_python_only_is_text(table):
    t = table("a,b\n1_000,٣\n2,4\n")
    assert t.columns["a"].texts == ("1_000", "2")
    assert t.columns["b"].texts == ("٣", "4")


def test_a_few_texts_among_numbers_are_noted(table):
    t = table("a,y\n" + "".join(f"{i},0\n" for i in range(9)) + "?,0\n")
    assert t.columns["a"].numbers is None
    assert "text in 1 cells, the first in line 11, '?'" in t.notes[0]


def test_integers_beyond_floats_are_noted(table):
    t = table(f"id,y\n{2**63},1\n{2**63 + 1},2\n")
    assert "beyond 2⁵³" in t.notes[0]
    assert table("id,y\n9007199254740992,1.0e300\n").notes == ()


def test_an_index_without_name_is_left_out(table):
    t = table(",a\n0,5\n1,6\n")
    assert list(t.columns) == ["a"]
    assert "column 1 has no name" in t.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", r"t.csv, line 3: 1 cells, but the header has 2 columns"),
        ("a,b\n1,2,3\n", r"line 2: 3 cells"),
        ('a,b\n1,"x\ny"\n1\n', r"line 4: 1 cells"),
        ("a,b,a\n1,2,3\n", r"line 1: columns 1, 3 have one name, 'a'"),
        ("a,b\n", "a header without rows"),
        ("", "no header"),
        ("\n1,2\n", "no header"),
        ("1,2\n3,4\n", "only numbers; expected the columns' names"),
        ("a,b\n1,inf\n", r"line 2, column 'b': an infinite number"),
        ("a,b\n1,2\n" + "9" * 400 + ",2\n", r"line 3, column 'a': an infinite number"),
        ('a,b\n1,2\n1,"x\n', "line 3: unexpected end of data"),
        ('a,b\n1,"x"y\n', "line 2: "),
        (b"a,b\n1,\xff\n", "byte 6 isn't UTF-8"),
        ("a\x1b[31m,a\x1b[31m\n1,2\n", r"'a\\x1b\[31m'"),
    ],
)
def test_faults_name_the_file_and_the_place(table, text, message):
    with pytest.raises(DataError, match=message):
        table(text)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no file"):
        read_table(tmp_path)


def test_columns_by_name(table):
    t = table("age,b,c\n1,2,3\n")
    with pytest.raises(DataError, match="did you mean 'age'"):
        t.column("Age")
    assert list(t.without(["b"]).columns) == ["age", "c"]
    with pytest.raises(DataError, match="unknown column 'x'"):
        t.without(["x"])
    assert t.take([0, 0]).rows == [2, 2]


CSV = "age,colour,flat,y\n1,red,7,a\n,blue,7,b\n3,,7,a\n100,green,7,c\n"


def test_the_encoding_is_fitted_to_the_training_samples_alone(table):
    t = table(CSV)
    encoding, notes = fit_encoding(t, ["age", "colour", "flat"], [0, 1, 2])
    assert encoding.inputs == ("age", "age (missing)", "colour=blue", "colour=red", "colour=(missing)")
    assert encoding.encode(t).tolist() == [
        [1, 0, 0, 1, 0],
        [2, 1, 1, 0, 0],
        [3, 0, 0, 0, 1],
        [100, 0, 0, 0, 0],
    ]
    assert notes == [f"{t.path}: column 'flat' has 7 in all training samples: it is left out."]
    other, _ = fit_encoding(t.take([0, 1, 2]), ["age", "colour", "flat"], [0, 1, 2])
    assert other == encoding


def test_the_encoding_is_kept_as_json(table):
    t = table(CSV)
    encoding, _ = fit_encoding(t, ["age", "colour"], [0, 1, 2, 3])
    again = TableEncoding.from_json(encoding.to_json())
    assert again == encoding
    assert torch.equal(again.encode(t), encoding.encode(t))
    for wrong in ("[", "{}1", '[{"nam": 1}]', "[1]"):
        with pytest.raises((ValueError, TypeError, KeyError)):
            TableEncoding.from_json(wrong)
    assert isinstance(json.loads(encoding.to_json()), list)


def test_other_files_are_encoded_by_a_kept_encoding(table):
    encoding, _ = fit_encoding(table(CSV), ["age", "colour"], [0, 1, 2, 3])
    assert encoding.encode(table("more,colour,age\n0,red,5\n", "n.csv")).tolist() == [[5, 0, 0, 0, 1, 0]]
    with pytest.raises(DataError, match=r"n\.csv: unknown column 'colour'"):
        encoding.encode(table("age\n5\n", "n.csv"))
    with pytest.raises(DataError, match=r"n\.csv, line 3, column 'age': 'old'; expected a number"):
        encoding.encode(table("age,colour\n5,red\nold,red\n", "n.csv"))
    with pytest.raises(DataError, match=r"line 2, column 'age': 1e\+39 is beyond"):
        encoding.encode(table("age,colour\n1e39,red\n", "n.csv"))


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("a,b\n" + "".join(f"{i},name{i}\n" for i in range(300)), "has 300 different texts in 300 training samples"),
        ("a,b\n1,x\n2,x\n", "the same text in all training samples, 'x'"),
        ("a,b\n1,\n2,\n", "is missing in all training samples"),
    ],
)
def test_columns_that_are_of_no_use_are_left_out(table, text, note):
    t = table(text)
    encoding, notes = fit_encoding(t, ["a", "b"], range(len(t)))
    assert encoding.inputs == ("a",)
    assert note in notes[0]
    with pytest.raises(DataError, match="no column is left as an input"):
        fit_encoding(t, ["b"], range(len(t)))


def test_targets(table):
    t = table("x,y,z\n1,10,a\n2,2.50,b\n3,,c\n4,2,oops\n")
    assert read_labels(t, "z") == ("a", "b", "c", "oops")
    with pytest.raises(DataError, match=r"line 2, column 'z': 'a'; expected a number"):
        read_values(t, "z")
    for read in (read_values, read_labels):
        with pytest.raises(DataError, match=r"line 4, column 'y': the target is missing \(1 of 4\)"):
            read(t, "y")
    kept = t.take([0, 1, 3])
    assert read_values(kept, "y").tolist() == [10.0, 2.5, 2.0]
    assert read_labels(kept, "y") == ("10", "2.5", "2")
    assert sorted_classes(["10", "2.5", "2", "2"]) == ("2", "2.5", "10")
    assert sorted_classes(["b", "10", "a"]) == ("10", "a", "b")


def write_parquet(path, **columns):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table(columns), path)
    return path


def test_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    path = write_parquet(
        tmp_path / "t.parquet",
        whole=[1, None, 3],
        real=[0.5, float("nan"), None],
        text=["a", None, "NA"],
        truth=[True, False, None],
        code=arrow.array(["x", "y", "x"]).dictionary_encode(),
        nothing=arrow.nulls(3),
    )
    t = read_table(path)
    assert np.isnan(numbers(t, "whole")).tolist() == [False, True, False]
    assert np.isnan(numbers(t, "real")).tolist() == [False, True, True]
    assert t.columns["text"].texts == ("a", None, None)
    assert t.columns["truth"].texts == ("True", "False", None)
    assert t.columns["code"].texts == ("x", "y", "x")
    assert t.columns["nothing"].missing.all()
    assert t.place(1, "real").endswith("t.parquet, row 2, column 'real'")


def test_faults_of_parquet(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", when=[date(2020, 1, 1)], a=[1])
    with pytest.raises(DataError, match="column 'when': the type date32"):
        read_table(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="can't be read as Parquet"):
        read_table(path)
    with pytest.raises(DataError, match="row 1, column 'a': an infinite number"):
        read_table(write_parquet(tmp_path / "i.parquet", a=[float("inf")]))
    with pytest.raises(DataError, match="no rows"):
        read_table(write_parquet(tmp_path / "e.parquet", a=[]))
