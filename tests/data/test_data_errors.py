"""What goes wrong with data is said, with the mend."""

import numpy as np
import pytest
from PIL import Image

from tutelage.data import load
from tutelage.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("digitz", {}, "did you mean 'digits'"),
        ("fashionmnist:x", {}, "did you mean 'fashion-mnist'"),
        ("folder", {}, "expected 'folder:PATH'"),
        ("digits:x", {}, "expected 'digits'"),
        ("digits", {"val": 0.0}, "val=0.0: expected a fraction"),
        ("digits", {"val": 0.6}, "at most 0.5"),
        ("digits", {"limit": 0}, "limit=0: expected 1 or more"),
        ("digits", {"labels_per_class": 0}, "labels_per_class=0"),
        ("digits", {"size": 0}, "size=0"),
        ("digits", {"augment": "flop"}, "unknown augment 'flop'"),
        ("digits", {"augment": "resized-crop"}, "photos read from files"),
        ("digits", {"task": "segmentation"}, "is for classification, not for segmentation"),
        ("python:no_such_module:f", {}, "No module named 'no_such_module'"),
        ("python:json:nope", {}, "has no attribute 'nope'"),
        ("python:json", {}, "python:MODULE:FUNCTION"),
    ],
)
def test_wrong_requests(name, options, words):
    with pytest.raises(ConfigError, match=words):
        load(name, **options)


@pytest.mark.parametrize("kind", ["folder", "npz", "segmentation", "mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_missing_path(kind, tmp_path):
    with pytest.raises(DataError, match=r"not-there.*expected"):
        load(f"{kind}:{tmp_path / 'not-there'}")


def test_python_that_raises_or_returns_something_else(tmp_path, monkeypatch):
    (tmp_path / "wrong_for_tests.py").write_text(
        "def fails(): return 1 / 0\ndef seven(): return 7\ndef lists(): return [1], [2]\n"
    )
    monkeypatch.chdir(tmp_path)
    for function, words in [("fails", "ZeroDivisionError"), ("seven", "got int"), ("lists", "no `classes`")]:
        with pytest.raises(DataError, match=words):
            load(f"python:wrong_for_tests:{function}")


# npz


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x_train": None}, "no array 'x_train'"),
        ({"y_train": None}, "no array 'y_train'"),
        ({"y_test": None}, "has x_test but no y_test"),
        ({"x_train": np.zeros((40, 8, 8, 9), np.uint8)}, r"shape \(40, 8, 8, 9\)"),
        ({"x_train": np.zeros((40, 3, 8, 3), np.uint8)}, "expected"),
        ({"x_train": np.zeros((40, 8), np.uint8)}, r"x_test has shape \(12, 8, 8, 3\): expected \(N, C\) for table"),
        ({"x_train": np.zeros((40, 0, 8, 3), np.uint8)}, "expected"),
        ({"x_train": np.zeros((40, 8, 8, 3), np.int64)}, "int64: expected uint8, or floats"),
        ({"x_train": np.zeros((39, 8, 8, 3), np.uint8)}, "39 samples in x_train, 40 targets"),
        ({"x_test": np.zeros((12, 9, 8, 3), np.uint8)}, r"of test \(3, 9, 8\)"),
        ({"x_train": np.full((40, 8, 8, 3), np.nan)}, "NaN or infinite"),
        ({"x_train": np.full((40, 8, 8, 3), np.inf)}, "NaN or infinite"),
        ({"x_train": np.full((40, 8, 8, 3), 3.0)}, r"scale them to \[0, 1\]"),
        ({"y_train": np.arange(40) % 4 - 1}, "the label -1"),
        ({"y_train": np.full(40, np.nan)}, r"y_train, row 0, is \[nan\]"),
        ({"y_train": np.arange(40) / 4, "y_test": np.array(["a"] * 12)}, "y_test is <U1.* expected numbers"),
        ({"y_train": np.arange(40) / 4, "values": np.array(["a", "b"])}, "expected a name for each"),
        ({"groups_train": np.arange(40) / 2}, "groups_train is float64"),
        ({"groups_train": np.arange(40), "groups_test": np.arange(12)}, "samples in both test and train"),
        ({"y_train": np.zeros((40, 2), int)}, "expected integers"),
        ({"y_train": np.zeros(0, int), "x_train": np.zeros((0, 8, 8, 3), np.uint8)}, "expected"),
        ({"y_test": np.full(12, 4)}, "label 4, beyond the 4 classes"),
        ({"classes": np.array(["a", "b"])}, "2 classes are named"),
        ({"y_train": np.zeros(40, int), "y_test": np.zeros(12, int)}, "expected two or more"),
        ({"x_train": np.array([{}] * 40)}, "without objects"),
    ],
)
def test_npz(tmp_path, made, changed, words):
    with pytest.raises(DataError, match=words):
        load(f"npz:{made.npz(tmp_path / 'a.npz', **changed)}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": np.where(np.arange(20) == 3, 10**12, 0)}, "has the label 1000000000000: expected labels from 0"),
        ({"x_train": np.full((20, 1, 32), 1e300)}, "x_train, row 0, has NaN, infinite or too large values"),
    ],
)
def test_numbers_that_are_much_too_large_are_refused(tmp_path, changes, message):
    arrays = {"x_train": np.zeros((20, 1, 32)), "y_train": np.arange(20) % 2, "modality": "series"} | changes
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(f"npz:{tmp_path / 'x.npz'}")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"plain words"])
def test_npz_that_is_none(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: can't be read"):
        load(f"npz:{tmp_path / 'a.npz'}")


def test_torn_npz(tmp_path, made):
    file = made.npz(tmp_path / "a.npz")
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DataError, match="can't be read"):
        load(f"npz:{file}")


def test_class_list_that_is_none(tmp_path, made):
    file = made.npz(tmp_path / "a.npz")
    for wrong in ("{", "7", "[1, 2]", '["a", "a", "b", "c"]', "{}"):
        (tmp_path / "classes.json").write_text(wrong)
        with pytest.raises(DataError, match="JSON list of class names"):
            load(f"npz:{file}")


# folders


def test_folder_without_classes_or_images(tmp_path, made):
    with pytest.raises(DataError, match="has no folders"):
        load(f"folder:{tmp_path}")
    root = made.photo_folder(tmp_path / "a")
    (root / "fish").mkdir()
    (root / "fish" / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"no images in the class folder\(s\) fish"):
        load(f"folder:{root}")


def test_folder_whose_splits_differ(tmp_path, made):
    root = made.photo_folder(tmp_path, splits=("train", "test"))
    (root / "test" / "dog").rename(root / "test" / "fish")
    with pytest.raises(DataError, match="only in train: dog; only in test: fish"):
        load(f"folder:{root}")


def test_too_few_to_part(tmp_path, made):
    root = made.photo_folder(tmp_path, splits=("train", "test"), each=1, classes=("a", "b"))
    assert len(load(f"folder:{root}").val) == 1
    with pytest.raises(DataError, match="can't be split into train and val"):
        load(f"folder:{made.photo_folder(tmp_path / 'whole', each=1)}")


def torn(path):
    Image.new("RGB", (100, 100), (10, 200, 30)).save(path)
    path.write_bytes(path.read_bytes()[:-60])


@pytest.mark.parametrize("content", ["empty", "text", "torn"])
def test_broken_small_image_is_named_when_loading(tmp_path, made, content):
    root = made.photo_folder(tmp_path)
    broken = root / "dog" / "3.png"
    broken.write_bytes({"empty": b"", "text": b"no image at all", "torn": broken.read_bytes()[:200]}[content])
    with pytest.raises(DataError, match=r"dog/3\.png: can't be read as an image"):
        load(f"folder:{root}")


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_photo_is_named_when_read_also_by_workers(tmp_path, made, workers):
    data = load(f"folder:{made.photo_folder(tmp_path, side=100)}", size=16)
    torn(data.train.paths[2])
    with pytest.raises(DataError, match=r"^[^\n]*png: can't be read as an image[^\n]*$"):
        list(data.batches("train", 3, workers=workers))


def test_deep_images_are_refused(tmp_path, made):
    root = made.photo_folder(tmp_path, mode="L")
    Image.fromarray(np.full((12, 12), 40000, np.uint16)).save(root / "cat" / "0.png")
    with pytest.raises(DataError, match="expected 8 bits per channel"):
        load(f"folder:{root}")


def test_what_may_not_be_read(tmp_path, made, monkeypatch):
    root = made.photo_folder(tmp_path)

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(root / "cat"))

    with monkeypatch.context() as patch:
        patch.setattr("os.scandir", denied)
        patch.setattr("os.listdir", denied)
        with pytest.raises(DataError, match=r"can't be read \(Permission denied\)"):
            load(f"folder:{root}")
    with monkeypatch.context() as patch:
        patch.setattr("PIL.Image.open", denied)
        with pytest.raises(DataError, match=r"cat/0\.png: can't be read.*Permission denied"):
            load(f"folder:{root}")


def test_mnist_says_which_files(tmp_path):
    with pytest.raises(DataError, match=r"MNIST/raw/.*train,t10k.*images-idx3") as caught:
        load(f"mnist:{tmp_path}")
    assert "download" not in str(caught.value)


# segmentation


def test_masks_without_images_and_the_reverse(tmp_path, made):
    with pytest.raises(DataError, match="no images with masks"):
        load(f"segmentation:{tmp_path}")
    root = made.camvid(tmp_path)
    (root / "valannot" / "2.png").unlink()
    with pytest.raises(DataError, match=r"1 file\(s\) without a partner of the same name: 2"):
        load(f"segmentation:{root}")


def test_mask_of_another_size(tmp_path, made):
    root = made.camvid(tmp_path)
    made.mask(root / "trainannot" / "1.png", np.zeros((16, 23)))
    with pytest.raises(DataError, match=r"trainannot/1\.png: is \(16, 23\), but its image .* is \(16, 24\)"):
        load(f"segmentation:{root}")


def test_mask_values_out_of_range(tmp_path, made):
    root = made.camvid(tmp_path)
    made.mask(root / "testannot" / "1.png", np.full((16, 24), 9))
    with pytest.raises(DataError, match=r"testannot/1\.png: has the values \[9\], but only \[0, 1, 2, 3, 255\]"):
        load(f"segmentation:{root}")


def test_coloured_mask(tmp_path, made):
    root = made.camvid(tmp_path)
    made.picture(root / "trainannot" / "1.png", 16, 24)
    with pytest.raises(DataError, match="one integer from 0 to 255 per pixel"):
        load(f"segmentation:{root}")


def test_segmentation_has_no_labels_per_class(tmp_path, made):
    with pytest.raises(ConfigError, match="requires a single class per sample"):
        load(f"segmentation:{made.camvid(tmp_path)}", labels_per_class=2)
