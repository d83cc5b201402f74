"""Masks as tools leave them: what was found is said, what can't be meant is refused, a mapping says what is meant."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage.data import load
from tutelage.data.masks import read_colours, read_values
from tutelage.errors import DataError

GRID = np.indices((12, 12)).sum(0)
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def folder(tmp_path, made):
    """Makes images/ and masks/ of what `image` gives for each number."""

    def make(image, classes=None, ending=".png", count=10):
        for i in range(count):
            made.picture(tmp_path / "images" / f"{i}.png")
            (tmp_path / "masks").mkdir(exist_ok=True)
            image(i).save(tmp_path / "masks" / f"{i}{ending}")
        if classes is not None:
            (tmp_path / "classes.json").write_text(json.dumps(classes))
        return f"segmentation:{tmp_path}"

    return make


def grey(*codes):
    return lambda i: Image.fromarray(np.array(codes)[GRID % len(codes)].astype(np.uint8))


def deep(*codes):
    return lambda i: Image.fromarray(np.array(codes)[GRID % len(codes)].astype(np.uint16))


def rgb(*colours):
    return lambda i: Image.fromarray(np.array(colours)[GRID % len(colours)].astype(np.uint8))


def rgba(*colours):
    return lambda i: rgb(*colours)(i).convert("RGBA")


def palette(*colours, shift=False):
    """Indices 0, 1 …; with shift, every other mask has its palette in another order."""

    def make(i):
        turn = i % 2 if shift else 0
        image = Image.fromarray(((GRID + turn) % len(colours)).astype(np.uint8), mode="P")
        image.putpalette([v for k in range(len(colours)) for v in colours[(k - turn) % len(colours)]])
        return image

    return make


def first(name):
    data = load(name)
    (batch,) = data.batches("test", len(data.test))
    return data, batch.targets[0]


TWO = torch.from_numpy(GRID % 2)


@pytest.mark.parametrize(
    ("image", "classes", "names", "expected"),
    [
        (grey(0, 1), None, ("0", "1"), TWO),
        (grey(0, 255), {"background": 0, "nucleus": 255}, ("background", "nucleus"), TWO),
        (grey(0, 255), {"nucleus": 255, "background": 0}, ("nucleus", "background"), 1 - TWO),
        (grey(7, 40), {"a": 7, "b": 40}, ("a", "b"), TWO),
        (grey(7, 40, 7, 41), {"a": 7, "b": [40, 41]}, ("a", "b"), TWO),
        (grey(0, 9), {"a": 0, "b": 1, "void": 9}, ("a", "b"), TWO * 255),
        (deep(0, 4000), {"a": 0, "b": 4000}, ("a", "b"), TWO),
        (rgb((0, 0, 0), (1, 1, 1)), None, ("0", "1"), TWO),
        (rgba((0, 0, 0), (1, 1, 1)), None, ("0", "1"), TWO),
        (rgb(RED, BLUE), {"red": "#FF0000", "blue": "#0000ff"}, ("red", "blue"), TWO),
        (rgba(RED, BLUE), {"red": "#ff0000", "blue": ["#0000ff", "#00ff00"]}, ("red", "blue"), TWO),
        (rgb(RED, BLUE), {"red": "#ff0000", "x": "#123456", "ignore": "#0000ff"}, ("red", "x"), TWO * 255),
        (palette(RED, BLUE), None, ("0", "1"), TWO),
        (palette(RED, BLUE, shift=True), {"red": "#ff0000", "blue": "#0000ff"}, ("red", "blue"), TWO),
        (lambda i: grey(0, 255)(i).convert("1"), None, ("0", "1"), TWO),
        (lambda i: grey(0, 1)(i).convert("LA"), None, ("0", "1"), TWO),
    ],
)
def test_masks_and_mappings_that_are_understood(folder, image, classes, names, expected):
    data, target = first(folder(image, classes))
    assert data.classes == names
    assert target.equal(expected)


@pytest.mark.parametrize(
    ("image", "classes", "words"),
    [
        (grey(0, 255), None, r"hold the values \[0, 255\] only, and 255 marks unlabelled pixels.*classes\.json"),
        (grey(0), None, r"hold the values \[0\] only: expected two classes"),
        (grey(255), None, r"hold the values \[255\] only"),
        (grey(0, 128, 255), None, r"hold the values \[0, 128, 255\], which can't be the numbers of 129 classes"),
        (grey(0, 7, 200), None, r"\[0, 7, 200\].*give each value's class in classes\.json"),
        (deep(0, 1, 400), None, r"\[0, 1, 400\]"),
        (rgb(RED, BLUE), None, r"its pixels are colours: #0000ff, #ff0000; .*the class of each colour"),
        (rgba(RED, BLUE), None, r"mode RGBA: its pixels are colours"),
        (rgb(RED, BLUE), ["a", "b"], r"its pixels are colours"),
        (
            rgb(RED, BLUE),
            {"a": "#ff0000", "b": "#00ff00"},
            r"has the colours \[#0000ff\], but only \[#00ff00, #ff0000\]",
        ),
        (palette(RED, BLUE, shift=True), None, r"colour \d of its palette is #.*so the palette index isn't the class"),
        (grey(0, 3), {"a": 0, "b": 1}, r"has the values \[3\], but only \[0, 1, 255\] have a class"),
        (grey(0, 1), {"a": 0, "b": "#ffffff"}, "all of one kind"),
        (grey(0, 1), {"a": 0, "b": "white"}, r"white: expected values from 0 or colours #rrggbb"),
        (grey(0, 1), {"a": 0, "b": 0}, "0 is given for two classes"),
        (grey(0, 1), {"a": 0, "b": True}, "True: expected values"),
        (grey(0, 1), {"a": 0, "b": -1}, "-1: expected values"),
        (grey(0, 1), {"a": 0, "b": 1.5}, "1.5: expected values"),
        (grey(0, 1), {"a": {"b": 1}}, "JSON list of class names"),
        (grey(0, 1), {"a": 0, "void": 1}, "expected two or more"),
        (lambda i: Image.fromarray(GRID.astype(np.float32)), None, "mode F, from 0.0 to 22.0"),
    ],
)
def test_masks_that_cannot_be_meant(folder, image, classes, words):
    with pytest.raises(DataError, match=words):
        load(folder(image, classes, ".tiff" if "mode F" in words else ".png"))


@pytest.mark.parametrize("classes", [None, {"background": 0, "object": 255}])
def test_a_jpeg_mask_is_refused_with_what_it_holds(folder, classes):
    with pytest.raises(
        DataError, match=r"0\.jpg: a mask saved as JPEG, which blurs its values \(\d+ of them: \[.*as PNG"
    ):
        load(folder(grey(0, 255), classes, ".jpg"))


@pytest.mark.parametrize(("kind", "other"), [("images", "0.jpg"), ("masks", "3.bmp")])
def test_two_files_of_one_name_are_refused(folder, made, tmp_path, kind, other):
    name = folder(grey(0, 1))
    made.picture(tmp_path / kind / other)
    with pytest.raises(DataError, match=rf"{kind}: 1 name\(s\) with two files: .*{other}"):
        load(name)


def test_files_without_partner_are_named_with_what_lacks(folder, tmp_path):
    name = folder(grey(0, 1))
    (tmp_path / "masks" / "2.png").rename(tmp_path / "masks" / "2_mask.png")
    with pytest.raises(DataError, match=r"2 file\(s\) without a partner.*2 \(no mask\), 2_mask \(no image\)"):
        load(name)


def test_one_mask_may_serve_two_images_by_a_link(folder, tmp_path):
    name = folder(grey(0, 1))
    (tmp_path / "masks" / "2.png").unlink()
    (tmp_path / "masks" / "2.png").symlink_to(tmp_path / "masks" / "1.png")
    assert len(load(name).train) + len(load(name).val) + len(load(name).test) == 10


def test_splits_of_masks_without_train(tmp_path, made):
    with pytest.raises(DataError, match="has test but no train"):
        load(f"segmentation:{made.camvid(tmp_path, splits=('test',))}")


def test_another_mapping_is_other_data(folder, tmp_path):
    name = folder(grey(0, 255), {"a": 0, "b": 255})
    known = load(name, size=4).train
    (tmp_path / "classes.json").write_text(json.dumps({"a": 255, "b": 0}))
    assert load(name, size=4).train.fingerprint() != known.fingerprint()


@pytest.mark.parametrize("read", [read_values, read_colours])
def test_codes_of_a_grey_mask(tmp_path, made, read):
    read_codes = read(made.mask(tmp_path / "a.png", GRID))
    assert (read_codes == (GRID if read is read_values else GRID * 0x010101)).all()
