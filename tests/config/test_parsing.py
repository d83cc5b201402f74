"""Files and words, read by what each key may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tutelage.config import parsing
from tutelage.config.schema import Config, check, key_types, read
from tutelage.errors import ConfigError


def word(text: str) -> Any:
    return next(iter(parsing.parse_pairs([text], key_types()).values()))


def in_file(tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    return parsing.read_file(tmp_path / "run.yaml", key_types())


TEXTS = [
    "2024-06-01", "1e3", "010", "1:30", "yes", "No", "0x1F", "3.0", "a: b", "#3", "x #3", "*a", "&a", "!x", "%y", "'",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("key", ["out", "student", "teacher", "data", "teacher_weights", "cache", "column", "device"])
def test_words_of_names_and_paths_are_taken_as_they_are(key, text):
    assert word(f"{key}={text}") == text


@pytest.mark.parametrize("text", [text for text in TEXTS if text[0] not in "#*&!%'" and " " not in text])
def test_elements_of_lists_of_names_are_too(text):
    assert word(f"classes=[{text},b]") == [text, "b"]
    assert word(f"teacher=[{text}, b]") == [text, "b"]
    assert word(f"teacher_classes=[[{text}], [b]]") == [[text], ["b"]]
    assert word(f"students=[{{student: {text}, name: {text}}}]") == [{"student": text, "name": text}]
    assert word(f"stages=[{{name: {text}, student: {text}}}]") == [{"name": text, "student": text}]
    assert word(f"method=[{{name: at, student: [{text}]}}]") == [{"name": "at", "student": [text]}]


def test_and_so_are_they_in_files(tmp_path):
    lines = "classes: [yes, no]", "student: 1e3", "out: 2024-06-01", "column: 007", "device: null", "val: 1e-1"
    written = "\n".join([*lines, "teacher_device: null"])
    assert in_file(tmp_path, written) == {
        "classes": ["yes", "no"], "student": "1e3", "out": "2024-06-01", "column": "007", "device": "null",
        "teacher_device": None, "val": 0.1,
    }  # fmt: skip


def test_what_is_no_text_is_read_as_such():
    assert [word(f"lr={x}") for x in ("1e-3", ".5", "-1", "3.", "+2e+2")] == [0.001, 0.5, -1, 3.0, 200.0]
    assert [word(x) for x in ("cache=true", "cache=caches/a", "peers=3")] == [True, "caches/a", 3]
    assert [word(x) for x in ("clip=null", "limit=none", "out=null", "teacher=null")] == [None] * 4
    assert word("teacher=none") == "none"
    assert word("scheme={name: mutual, sequential: true}") == {"name": "mutual", "sequential": True}
    assert word("data='folder:a b'") == "folder:a b"
    assert word("data=[x]") == "[x]"


WRONG = {
    "epochs": ["true", "1:30", "010", "0x10", "0o7", "1_000", "3.0", "1e1", "'3'", "[3]", "null", "2024-06-01", "~"],
    "lr": ["true", "1:30.5", "010.5", ".inf", "-.inf", ".nan", "1e999", "'0.1'", "0x1"],
    "clip": [".inf", ".nan", "true", "1e999"],
    "baseline": ["yes", "no", "on", "off", "1", "0", "'true'", "null"],
    "milestones": ["[.nan]", "[true]", "[0.5, .inf]", "0.5"],
    "seed": ["-1", "true", "1e3", "9999999999999999999999"],
    "snapshots": ["[1.5]", "[true]", "{a: 1}"],
    "limit": ["0", "1e4", "true", "-3"],
    "students": ["{seed: 3}", "[{seed: x}]", "[3]", "[{seed: true}]", "[{student: 3, sed: 1}]", "3"],
    "peers": ["true", "2.0", "[a]", "1", "[3, {a: b}]"],
    "stages": ["3", "[3]", "{name: a}"],
    "scheme": ["3", "[mutual]", "{nme: mutual}", "{name: 3}", "{name: [mutual]}"],
    "method": ["[3]", "[null]", "{nme: kd}", "[[kd]]", "{name: [kd]}", "1e999*kd"],
    "classes": ["3", "{a: b}", "[[a]]"],
    "log": ["[3]", "csv", "{a: b}"],
    "precision": ["33", "true", "[32]"],
    "view_seed": ["1:30"], "workers": ["010"], "val": [".nan"], "decay": ["true"], "ema": [".inf"],
}  # fmt: skip


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in WRONG.items() for text in texts])
def test_what_a_key_cannot_hold_is_refused_by_its_name(key, text, tmp_path):
    with pytest.raises(ConfigError, match=key):
        read(words=[f"{key}={text}"])
    (tmp_path / "run.yaml").write_text(f"{key}: {text}\n")
    with pytest.raises(ConfigError, match=key):
        read(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", True), ("epochs", 3.0), ("epochs", "3"), ("lr", float("inf")), ("lr", "0.1"), ("baseline", 1),
        ("scheme", 3), ("scheme", {}), ("method", [3]), ("method", 3), ("students", [{"seed": "x"}]), ("students", "a"),
        ("stages", [3]), ("stages", {"name": "a"}), ("data", 3), ("data", ["digits"]), ("teacher", 3), ("teacher", [3]),
        ("peers", True), ("classes", [True]), ("recipe", 3), ("out", "a\0b"), ("out", "x" * 300), ("data", "\udcff"),
        ("student", "x/" * 5000), ("teacher_weights", "\0"), ("column", "\udc80"), ("precision", True), ("log", [[]]),
        ("out", ""), ("student", ""), ("method", {}), ("teacher", ["a"] * 100), ("peers", ["a"] * 100),
    ],
)  # fmt: skip
def test_of_python_too(key, value):
    with pytest.raises(ConfigError, match=key):
        check({key: value})


def test_in_python_tuples_and_paths_are_taken(tmp_path):
    config = check({"out": tmp_path, "milestones": (0.5,), "classes": (0, "1"), "teacher": ("cnn4", "cnn8")})
    assert (config.out, config.milestones, config.classes) == (str(tmp_path), [0.5], ["0", "1"])
    assert config.teacher == ["cnn4", "cnn8"]


@pytest.mark.parametrize(
    ("words", "key", "expected"),
    [
        ("out=~/x", "out", "/home/me/x"),
        ("teacher_weights=~/x.pt", "teacher_weights", "/home/me/x.pt"),
        ("data=folder:~/scans", "data", "folder:/home/me/scans"),
        ("student=hf:~/vit", "student", "hf:/home/me/vit"),
        ("teacher=[~/a, ~/b]", "teacher", ["/home/me/a", "/home/me/b"]),
        ("cache=~/c", "cache", "/home/me/c"),
        ("out=a~/x", "out", "a~/x"),
        ("students=[{student: ~/s}]", "students", [{"student": "/home/me/s"}]),
    ],
)
def test_the_home_folder_is_meant_by_its_sign(words, key, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert getattr(read(words=["student=cnn2", "teacher=cnn4", words]), key) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs: 3\nlr: 1\nepochs: 5\n", ["line 3", "epochs", "line 1"]),
        ("method:\n- {name: kd,\n   temperature: 2, temperature: 3}\n", ["line 3", "temperature", "line 3"]),
        ("scheme: {name: mutual, name: exits}\n", ["line 1", "name"]),
        ("a: 1\nb: 2\na: 3\nb: 4\n", ["line 3: a", "line 4: b"]),
        ("? [a]\n: 3\n", ["line 1", "a key is text"]),
        ("method: !!python/name:os.system x\n", ["tag"]),
        ("classes: !!set {a, b}\n", ["tag"]),
        ("stages: &a [*a]\n", ["alias within itself"]),
        ("<<: {epochs: 3}\n", ["unknown key '<<'"]),
        ("x: " + "[" * 100 + "]" * 100, ["deep"]),
        ("x: " + "[" * 5000, ["deep"]),
        ("", ["holds nothing"]),
        ("3", ["expected keys and values"]),
        ("a: 1\n---\nb: 2\n", ["isn't valid YAML"]),
        ("epochs: " + "1" * 5000, ["can't be read as int"]),
        ("".join(f"k{i}: &k{i} [{f'*k{i - 1},' * 9 if i else 'x'}]\n" for i in range(30)), ["values"]),
    ],
)
def test_files_that_cannot_be_meant_are_refused_where_they_are_wrong(tmp_path, text, says):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "run.yaml")
    for part in [*says, "run.yaml"] if "unknown key" not in says[0] else says:
        assert part in str(caught.value)


def make_pipe(path: Path) -> None:
    import os

    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.mkdir(), "is no file"),
        (make_pipe, "is no file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no file"),
        (lambda path: path.symlink_to(path), "can't be read"),
        (lambda path: path.write_text("# \n" * 1_000_000), "larger than"),
        (lambda path: None, "can't be read"),
    ],
    ids=["a folder", "a named pipe", "a device", "a loop of links", "something huge", "nothing"],
)
def test_what_is_no_file_of_yaml_is_refused_at_once(tmp_path, make, says):
    make(tmp_path / "run.yaml")
    with pytest.raises(ConfigError, match=says):
        read(tmp_path / "run.yaml")


@pytest.mark.parametrize("words", [["epochs="], ["out="], ["out= "], ["epochs"], ["=3"]])
def test_words_that_say_nothing_are_refused(words):
    with pytest.raises(ConfigError, match="expected"):
        read(words=words)


def test_of_two_words_the_later_wins():
    assert read(words=["epochs=3", "epochs=4"]).epochs == 4


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=9)
    | st.sampled_from(["yes", "1e3", "010", "1:30", "2024-06-01", "null", "~", ".inf", "0x1", "<<", "=", "- a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.text(min_size=1, max_size=5), anything, max_size=3))
def test_what_is_dumped_reads_as_it_was(values):
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(parsing.dump({"all": values}))
        file.flush()
        again = parsing.read_file(Path(file.name), {})
    assert again == {"all": values}
    assert repr(again) == repr({"all": values})  # 1 is not 1.0, nor True


def test_a_dumped_configuration_reads_as_it_was_by_other_readers_too(tmp_path):
    config = check({"classes": ["yes", "010", "1e3"], "method": [{"name": "at", "student": "1"}], "out": "2024-06-01"})
    (tmp_path / "run.yaml").write_text(parsing.dump(config.model_dump()))
    assert read(tmp_path / "run.yaml") == config
    assert Config(**yaml.safe_load((tmp_path / "run.yaml").read_text())).classes == ["yes", "010", "1e3"]


def test_everything_wrong_is_told_at_once(tmp_path):
    words = [
        "epochs=true", "sed=3", "milestones=[0.5, 0.2]", f"data=folder:{tmp_path}/none", "teacher_weights=none.pt",
        "method=kdd+att", "scheme={name: mutual, sequentially: 1}",
    ]  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        read(words=words)
    said = str(caught.value)
    for part in ("epochs=True", "'sed'", "milestones=[0.5, 0.2]", "no student", f"{tmp_path}/none", "none.pt", "'kdd'"):
        assert part in said, part
    assert "'att'" in said
    assert "sequentially" in said


def test_no_contradiction_is_made_of_what_is_wrong_by_itself():
    with pytest.raises(ConfigError) as caught:
        read(words=["teacher=[]", "epochs=0", "lr_warmup=3", "student=", "data=cifar100:/"])
    assert "student" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        check({"student": 3, "data": "cifar100:/", "epochs": 0, "lr_warmup": 3.0})
    assert "no student" not in str(caught.value)
    assert "takes all of" not in str(caught.value)


@pytest.mark.parametrize("keys", [{"method": "ce"}, {"method": None}, {"method": "ce", "scheme": "mutual"}])
def test_weights_of_a_teacher_that_is_not_there_are_refused(keys):
    with pytest.raises(ConfigError, match=r"teacher_weights=some\.pt: there is no teacher: name one"):
        check({"data": "digits", "student": "cnn2", "teacher": "none", "teacher_weights": "some.pt"} | keys)


def test_one_mapping_is_a_term():
    assert read(words=["method={name: kd, temperature: 2}"]).method == {"name": "kd", "temperature": 2}
