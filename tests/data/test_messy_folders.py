"""Folders as people have them: hidden copies, links, other endings, odd names, layouts that mean something else."""

import os
from pathlib import Path

import pytest
from small import Rows

from tutelage.config.schema import read
from tutelage.data import load
from tutelage.errors import DataError, TutelageError, plain
from tutelage.runs.inputs import Provided
from tutelage.runs.preflight import check
from tutelage.runs.run import Run


def real_files(data):
    return [p.resolve() for split in (data.train, data.val, data.test) for p in split.paths]


@pytest.fixture
def photos(tmp_path, made):
    return made.photo_folder(tmp_path / "photos", splits=("train", "test"), side=80, each=5)


def hidden(root, made):
    made.picture(root / "train" / "cat" / ".ipynb_checkpoints" / "0-checkpoint.png", 80, 80)


def hidden_class(root, made):
    made.picture(root / "train" / ".ipynb_checkpoints" / "0.png", 80, 80)


def thumbnails(root, made):
    made.picture(root / "test" / "dog" / "@eaDir" / "0.png" / "SYNOPHOTO_THUMB_M.png", 80, 80)


def loop(root, made):
    (root / "train" / "cat" / "loop").symlink_to(root / "train" / "cat")


def loop_over_the_splits(root, made):
    (root / "train" / "cat" / "up").symlink_to(root)


def loop_as_a_class(root, made):
    for split in ("train", "test"):
        (root / split / "all").symlink_to(root)


def loop_outside(root, made):
    away = root.parent / "away"
    (root / "train" / "cat").rename(away)
    (root / "train" / "cat").symlink_to(away)
    (away / "again").symlink_to(root.parent)


def linked_file(root, made):
    (root / "train" / "cat" / "same.png").symlink_to(root / "train" / "cat" / "0.png")


def hard_link(root, made):
    os.link(root / "train" / "cat" / "0.png", root / "train" / "cat" / "same.png")


@pytest.mark.parametrize(
    "mess",
    [
        hidden,
        hidden_class,
        thumbnails,
        loop,
        loop_over_the_splits,
        loop_as_a_class,
        loop_outside,
        linked_file,
        hard_link,
    ],
)
def test_each_real_file_counts_once(photos, made, mess):
    mess(photos, made)
    data = load(f"folder:{photos}", size=16)
    files = real_files(data)
    assert len(files) == len({*files}) == 20
    assert data.classes == ("cat", "dog")


def link_between(root, one, other):
    (root / one).symlink_to((root / other).resolve())


@pytest.mark.parametrize(
    ("link", "to"),
    [
        ("test/cat/1000.png", "train/cat/0.png"),
        ("train/dog/1000.png", "train/cat/0.png"),
        ("val", "test"),
        ("train/cat/more", "test/cat"),
        ("train/cat/more", "train/dog"),
    ],
)
def test_a_file_in_two_splits_or_classes_is_refused_by_name(photos, link, to):
    link_between(photos, link, to)
    with pytest.raises(DataError, match=r"in two classes or splits at once, by links: .*/\w+/.* = .*; keep one"):
        load(f"folder:{photos}", size=16)


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".jp2", ".webp", ".avif", ".JPG", ".tga"])
def test_endings_that_pil_reads_are_taken(photos, made, ending):
    made.picture(photos / "train" / "cat" / f"more{ending}", 80, 80)
    assert len(load(f"folder:{photos}", size=16).train.paths) + len(load(f"folder:{photos}", size=16).val.paths) == 11


def test_other_files_are_counted_by_ending_in_the_run_and_in_check(photos):
    for name in ("a.heic", "b.HEIC", "c.mp4", "noending", "line\nbreak.x\x1b[31m"):
        (photos / "train" / "cat" / name).write_bytes(b"?")
    os.mkfifo(photos / "train" / "cat" / "pipe.jpg")
    expected = "6 file(s) left out"
    data = load(f"folder:{photos}", size=16)
    (note,) = data.notes
    assert all(part in note for part in (expected, "2 .heic", "1 .mp4", "1 without ending", "1 .jpg", r"\x1b[31m"))
    assert note.isprintable()

    rows, words = Rows(), [f"data=folder:{photos}", "student=cnn2", "teacher=cnn2", "size=8"]
    Run(read(words=words), Provided(callbacks=(rows,)), Path())
    assert [row for row in rows.rows if expected in row["message"]]
    assert [finding for finding in check(read(words=words)).findings if expected in finding.what]


def test_names_that_are_not_utf8_work_as_files_and_are_refused_as_classes(photos, made):
    odd = Path(os.fsdecode(os.fsencode(photos / "train" / "cat") + b"/caf\xe9.png"))
    made.picture(odd, 80, 80)
    data = load(f"folder:{photos}", size=16)
    assert len(real_files(data)) == 21
    assert data.fingerprint
    for split in ("train", "test"):
        made.picture(Path(os.fsdecode(os.fsencode(photos / split) + b"/caf\xe9")) / "0.png", 80, 80)
    with pytest.raises(DataError, match=r"class folder\(s\) whose names aren't UTF-8: caf\\udce9; rename"):
        load(f"folder:{photos}")
    with pytest.raises(DataError, match=r"caf\\udce9.*not UTF-8"):
        load(os.fsdecode(f"folder:{photos}/caf".encode() + b"\xe9"))


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31mb.png", "a\rb.png", "a\u202eb.png", os.fsdecode(b"a\xe9b.png")])
def test_odd_names_are_one_printable_line_in_messages(photos, name):
    (photos / "test" / "dog" / name).write_bytes(b"torn")
    with pytest.raises(DataError) as caught:
        load(f"folder:{photos}")
    assert str(caught.value).isprintable()
    assert plain(name) in str(caught.value)


def test_all_broken_files_are_named_at_once(photos):
    for i in range(5):
        (photos / "train" / "cat" / f"{i}.png").write_bytes(b"torn")
    with pytest.raises(DataError) as caught:
        load(f"folder:{photos}")
    assert all(f"cat/{i}.png" in str(caught.value) for i in range(5))


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["train/0.png", "cat/0.png", "dog/0.png"], r"If 'train' is a class, its name is that of a split: rename it"),
        (["test/0.png", "cat/0.png", "dog/0.png"], r"If 'test' is a class"),
        (["val/0.png", "cat/0.png", "dog/0.png"], r"If 'val' is a class"),
        (["train/cat/0.png", "train/dog/0.png", "test/0.png"], r"If it is a split, sort its images into one folder"),
        (["test/cat/0.png", "test/dog/0.png"], "has test but no train"),
        (["Val/cat/0.png", "Test/dog/0.png"], "has Test and Val but no train"),
        (["train/cat/0.png", "train/dog/0.png", "val/cat/0.png", "valid/cat/0.png"], "both for val: keep one"),
        (["0.png", "1.png"], "has 2 images, but no folders"),
        (["train/0.png", "train/1.png"], "has images and no class folders"),
        (["cat/0.png", "dog/n.txt"], r"no images in the class folder\(s\) dog.*1 file\(s\) left out.*1 \.txt"),
        (["photos/cat/0.png", "photos/dog/0.png"], r"one class folder only, photos.*did you mean .*photos.*cat, dog"),
        (["cat/0.png"], "one class folder only, cat: expected two or more; add another"),
        (["train/cat/0.png", "train/dog/0.png", "test/cat/0.png"], "only in train: dog; only in test: none"),
        (["images/0.png", "masks/0.png"], "did you mean segmentation:"),
        (["train/0.png", "trainannot/0.png"], "did you mean segmentation:"),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else None,
)
def test_layouts_that_mean_something_else(tmp_path, made, paths, words):
    for path in paths:
        made.picture(tmp_path / "x.png")
        (tmp_path / "a" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x.png").rename(tmp_path / "a" / path)
    with pytest.raises(DataError, match=words):
        load(f"folder:{tmp_path / 'a'}")


def test_splits_in_capitals_and_what_lies_beside_them(tmp_path, made):
    root = made.photo_folder(tmp_path / "a", splits=("Train", "Test"), each=3)
    assert [len(s) for s in (load(f"folder:{root}").test, load(f"folder:{root}").train)] == [6, 5]
    beside = made.photo_folder(tmp_path / "b", splits=("train", "raw"), each=9)
    made.picture(beside / "train" / "stray.png")
    notes = " ".join(load(f"folder:{beside}").notes)
    assert "left out next to train: raw" in notes
    assert "1 image(s) outside of the class folders are left out: stray.png" in notes


@pytest.mark.parametrize("ask", ["photos", "./photos", "{}/photos", "folder"])
def test_a_folder_without_its_kind_gets_a_hint(tmp_path, made, monkeypatch, ask):
    made.photo_folder(tmp_path / "photos")
    made.photo_folder(tmp_path / "folder")
    monkeypatch.chdir(tmp_path)
    ask = ask.format(tmp_path)
    with pytest.raises(TutelageError, match=f"Did you mean data=folder:{ask}"):
        load(ask)


def test_hints_at_masks_and_arrays(tmp_path, made):
    made.camvid(tmp_path / "streets")
    with pytest.raises(TutelageError, match=r"folder:.*streets or data=segmentation:.*streets"):
        load(str(tmp_path / "streets"))
    with pytest.raises(TutelageError, match="Did you mean data=npz:"):
        load(str(made.npz(tmp_path / "a.npz")))


BROKEN = {
    "raises.py": "raise RuntimeError('on purpose')",
    "exits.py": "import sys; sys.exit(3)",
    "syntax.py": "def f(:",
    "needs.py": "import no_such_thing_at_all",
    "late.py": "import sys\ndef f(): sys.exit(3)\nseven = 7\ndef none(): return None, None\n",
}


@pytest.mark.parametrize("where", ["", ":", "m", "m:", ":f", ".m:f", "m.:f", "m n:f", "late:g", "late:seven"])
@pytest.mark.parametrize("kind", ["python"])
def test_python_with_nothing(tmp_path, monkeypatch, kind, where):
    _modules(tmp_path, monkeypatch)
    with pytest.raises(TutelageError, match="python:MODULE:FUNCTION"):
        load(f"{kind}:{where}")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("raises:f", r"can't be imported: RuntimeError: on purpose \(.*raises\.py, line 1\)"),
        ("exits:f", "can't be imported: SystemExit: 3"),
        ("syntax:f", r"can't be imported: SyntaxError.*syntax\.py, line 1"),
        ("needs:f", r"can't be imported: ModuleNotFoundError.*needs\.py, line 1"),
        ("late:f", r"f\(\) raised SystemExit: 3 \(.*late\.py, line 2\)"),
        ("late:none", "no `classes`"),
    ],
)
def test_python_that_is_broken(tmp_path, monkeypatch, where, words):
    _modules(tmp_path, monkeypatch)
    with pytest.raises(DataError, match=words):
        load(f"python:broken_{where}")


def _modules(folder, monkeypatch):
    for name, text in BROKEN.items():
        (folder / f"broken_{name}").write_text(text)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("kind", ["digits", "digits-tasks"])
def test_a_colon_for_data_that_has_no_path_is_refused(kind):
    with pytest.raises(TutelageError, match=f"expected '{kind}'"):
        load(f"{kind}:")


@pytest.mark.parametrize("kind", ["folder", "npz", "segmentation", "mnist", "cifar10"])
@pytest.mark.parametrize(
    "where", ["", "a\0b", "a" * 300, "/dev/null", "~no-such-user/x", "a\nb", "\udce9", " "], ids=ascii
)
def test_paths_that_are_none(kind, where):
    with pytest.raises(TutelageError) as caught:
        load(f"{kind}:{where}")
    assert all(line.isprintable() for line in str(caught.value).splitlines())
    assert "unexpected" not in str(caught.value)


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(DataError, match="no file"):
        load(f"npz:{tmp_path / 'a.npz'}")
