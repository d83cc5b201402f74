"""Files of rankings: what is read, and what is refused with its file and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

from tutelage.data.query_files import read_interactions, read_letor, read_query_arrays
from tutelage.errors import DataError

GOOD = "2 qid:7 1:0.5 3:1e-2  # a comment\n\n# nothing here\n0 qid:7 2:3\n1.5 qid:9 1:-4\n"


def test_letor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text(GOOD)
    documents = read_letor(path)
    assert documents.features.tolist() == [[0, 0.5, 0, np.float32(1e-2)], [0, 0, 3, 0], [0, -4, 0, 0]]
    assert documents.grades.tolist() == [2, 0, 1.5]
    assert documents.queries.tolist() == [7, 7, 9]


def test_what_scikit_learn_writes_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y, q = rng.normal(size=(20, 5)), rng.integers(5, size=20), np.repeat(np.arange(4), 5)
    dump_svmlight_file(x, y, str(tmp_path / "a.txt"), query_id=q, zero_based=False, comment="made")
    documents = read_letor(tmp_path / "a.txt")
    np.testing.assert_allclose(documents.features[:, 1:], x, rtol=1e-6)
    assert documents.queries.tolist() == q.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no documents"),
        ("# only\n\n", "has no documents"),
        (GOOD + "good qid:9 1:1\n", "row 6: the grade 'good', expected a number from 0 to 30"),
        (GOOD + "nan qid:9 1:1\n", "row 6: the grade 'nan'"),
        (GOOD + "-1 qid:9 1:1\n", "row 6: the grade '-1'"),
        (GOOD + "31 qid:9 1:1\n", "row 6: the grade '31'"),
        (GOOD + "1 1:1 2:2\n", "row 6: no query after the grade"),
        (GOOD + "1\n", "row 6: no query after the grade"),
        (GOOD + "1 qid:x 1:1\n", "row 6: the query 'x', expected a whole number"),
        (GOOD + "1 qid:-3 1:1\n", "row 6: the query '-3'"),
        (GOOD + "1 qid:1.5 1:1\n", "row 6: the query '1.5'"),
        (GOOD + "1 qid:99999999999999999999 1:1\n", "row 6: the query '99999999999999999999'"),
        (GOOD + "1 qid:9 1:1 5\n", "row 6: '5', expected FEATURE:VALUE"),
        (GOOD + "1 qid:9 a:1\n", "row 6: 'a:1', expected FEATURE:VALUE"),
        (GOOD + "1 qid:9 99999999:1\n", "row 6: '99999999:1', expected FEATURE:VALUE with a feature number below"),
        (GOOD + "1 qid:9 4:1 3:1\n", "row 6: feature 3 comes after feature 4: sort the features"),
        (GOOD + "1 qid:9 3:1 3:1\n", "row 6: feature 3 comes after feature 3"),
        (GOOD + "1 qid:9 3:nan\n", "row 6: feature 3 is 'nan', expected a finite number"),
        (GOOD + "1 qid:9 3:inf\n", "row 6: feature 3 is 'inf'"),
        (GOOD + "1 qid:9 3:\n", "row 6: feature 3 is ''"),
        (GOOD + "1 qid:7 1:1\n", "row 6: the query qid:7 comes again after others"),
        (GOOD + "\0\x1b binary\n", r"row 6: the grade '\\x00\\x1b'"),
    ],
)
def test_a_bad_letor_file_is_refused_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_letor(path)
    assert str(path) in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x80" * 50)
    for read in (read_letor, read_query_arrays, read_interactions):
        with pytest.raises(DataError, match="no such file"):
            read(tmp_path / "missing")
        with pytest.raises(DataError, match="is no file"):
            read(tmp_path)
        with pytest.raises(DataError, match="noise"):
            read(tmp_path / "noise")


X, Y = np.ones((4, 2), np.float32), np.array([0, 1, 2, 0])


def test_arrays_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y, group=[3, 1])
    documents = read_query_arrays(tmp_path / "a.npz")
    assert documents.queries.tolist() == [0, 0, 0, 1]
    assert documents.grades.tolist() == [0, 1, 2, 0]
    np.savez(tmp_path / "b.npz", x=X, y=Y, qid=[4, 4, 2, 2])
    assert read_query_arrays(tmp_path / "b.npz").queries.tolist() == [4, 4, 2, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "no array 'x', only y, group"),
        ({"group": None}, "no array 'qid'"),
        ({"x": X[0]}, r"x is float32 of shape \(2,\), expected numbers \(N, D\)"),
        ({"x": X[:0]}, "x is float32 of shape"),
        ({"y": np.array(list("abcd"))}, r"y is <U1 of shape \(4,\), expected numbers"),
        ({"y": Y[:3]}, "4 rows in x and 3 in y"),
        ({"x": X * np.array([[1], [1], [np.nan], [1]])}, "row 2, column 0 of x is nan, expected finite numbers"),
        ({"x": np.array([[0, np.inf]] * 4)}, r"row 0, column 1 of x is inf, expected finite numbers \(4 such"),
        ({"y": Y - 1}, "row 0, y is -1.0, expected grades from 0 to 30"),
        ({"y": Y + 29}, "row 2, y is 31.0"),
        ({"group": [3, 0, 1]}, "row 1, group is 0, expected one document or more in every query"),
        ({"group": [3, 2]}, "the queries in group have 5 documents, x has 4"),
        ({"group": [3.0, 1.0]}, "group is float64"),
        ({"group": None, "qid": [1, 2, 1, 1]}, "row 2 of qid: the query 1 comes again after others"),
        ({"group": None, "qid": [1, 1, -1, -1]}, "row 2, qid is -1"),
        ({"group": None, "qid": [1, 1]}, "2 numbers in qid and 4 rows in x"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "a.npz"
    arrays = {"x": X, "y": Y, "group": [3, 1]} | change
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message) as caught:
        read_query_arrays(path)
    assert str(path) in str(caught.value)


def test_interactions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text('\ufeffuserId,movieId,rating,timestamp\n10,"a, b",5,3.5\n2,c,1,1\n10,c,2,7\n', encoding="utf-8")
    events = read_interactions(path)
    assert [events.user_names[u] for u in events.users] == ["10", "2", "10"]
    assert [events.item_names[i] for i in events.items] == ["a, b", "c", "c"]
    assert events.times.tolist() == [3.5, 1, 7]
    (tmp_path / "b.tsv").write_text("time\tuser\titem\n1\tu\ti\n")
    assert read_interactions(tmp_path / "b.tsv").item_names == ("i",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: no column for the user in the header ''"),
        ("user,item\nu,i\n", "row 1: no column for the time"),
        ("user,item,time,user_id\n", "row 1: 2 columns for the user"),
        ("user,item,time\n", "has no interactions"),
        ("user,item,time\nu,i,1\nu,i\n", "row 3: 2 fields, expected 3"),
        ("user,item,time\nu,i,1\n,i,2\n", "row 3: the user is empty"),
        ("user,item,time\nu, ,1\n", "row 2: the item is empty"),
        ("user,item,time\nu,i,2020-01-01\n", "row 2: the time is '2020-01-01', expected a number"),
        ("user,item,time\nu,i,nan\n", "row 2: the time is 'nan'"),
    ],
)
def test_bad_interactions_are_refused_with_their_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_interactions(path)
    assert str(path) in str(caught.value)
