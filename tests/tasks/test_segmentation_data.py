"""Segmentation's data: instances read as classes, what is refused with its file, and what `check` finds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label
from skimage.segmentation import find_boundaries

from tutelage import data as datasets
from tutelage.data.instance_masks import InstanceReading
from tutelage.errors import DataError
from tutelage.tasks.segmentation_checks import check_masks

SIDE, IGNORE = 16, 255
NOISE = np.random.default_rng(0).integers(2, size=(SIDE, SIDE))


def nuclei(number: int) -> np.ndarray:
    """Three discs that touch, with numbers up to 300 as in 16-bit label maps."""
    rows, columns = np.indices((SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), np.uint16)
    for code, column in ((1, 3), (2, 8), (300, 12)):
        mask[(rows - 7) ** 2 + (columns - column) ** 2 <= 6 + number % 3] = code
    return mask


def folder(root: Path, masks, classes=None, count: int = 10, ending: str = ".png") -> Path:
    """Write images, and the mask that `masks` returns for each number."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full((SIDE, SIDE, 3), 10 * number, np.uint8)).save(root / "images" / f"{number}.png")
        mask = masks(number)
        image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask.astype(mask.dtype))
        image.save(root / "masks" / f"{number}{ending}")
    if classes is not None:
        (root / "classes.json").write_text(json.dumps(classes))
    return root


def test_instances_are_background_inside_and_border(tmp_path):
    data = datasets.load(f"instances:{folder(tmp_path, nuclei)}")
    assert (data.task, data.classes) == ("segmentation", ("background", "inside", "border"))
    (batch,) = data.batches("train", 16, train=False)
    read = InstanceReading().read(tmp_path / "masks" / "0.png").numpy()
    codes = nuclei(0).astype(np.int64)
    expected = np.where(codes > 0, 1 + find_boundaries(codes, connectivity=1, mode="inner"), 0)
    assert np.array_equal(read, expected)
    assert batch.targets is not None
    assert set(batch.targets.unique().tolist()) == {0, 1, 2}
    assert label(read == 1)[1] == 3, "the insides stay apart where instances touch"


CLASSES = lambda number: NOISE.astype(np.uint8)  # noqa: E731
REFUSED = {
    "one instance in each": ("instances", lambda k: NOISE.astype(np.uint8), None, ".png", "none of its masks has two"),
    "classes as instances": (
        "instances", lambda k: (NOISE + 1).astype(np.uint8), None, ".png", r"\.png: each of its numbers lies in \d+"),
    "instances in colours": (
        "instances", lambda k: np.stack([NOISE * 200, NOISE * 9, NOISE], 2).astype(np.uint8), None, ".png",
        r"0\.png: mode RGB: its pixels are colours"),
    "classes of instances": ("instances", nuclei, ["a", "b"], ".png", r"classes\.json: instances have no classes"),
    "instances as JPEG": ("instances", lambda k: nuclei(k).astype(np.uint8), None, ".jpg", "mask saved as JPEG"),
    "colours": (
        "segmentation", lambda k: np.stack([NOISE * 200, NOISE * 9, NOISE], 2).astype(np.uint8), None, ".png",
        r"0\.png: mode RGB: its pixels are colours"),
    "JPEG": ("segmentation", CLASSES, None, ".jpg", r"0\.jpg: a mask saved as JPEG, which blurs"),
    "0 and 255": ("segmentation", lambda k: (NOISE * 255).astype(np.uint8), None, ".png", "255 marks unlabelled"),
    "numbers beyond the classes": (
        "segmentation", lambda k: (NOISE * (7 if k == 3 else 1)).astype(np.uint8), ["a", "b"], ".png",
        r"3\.png: has the values \[7\], but only \[0, 1, 255\] have a class"),
    "another size": (
        "segmentation", lambda k: NOISE[:, : 15 if k == 4 else 16].astype(np.uint8), ["a", "b"], ".png",
        r"4\.png: is \(16, 15\), but its image .*4\.png is \(16, 16\)"),
    "fractions": (
        "segmentation", lambda k: NOISE.astype(np.float32) / 2, ["a", "b"], ".tif", r"0\.tif: mode F, from 0.0 to 0.5"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_masks_that_are_refused_name_their_file(case, tmp_path):
    kind, masks, classes, ending, message = REFUSED[case]
    root = folder(tmp_path, masks, classes, ending=ending)
    with pytest.raises(DataError, match=message):
        datasets.load(f"{kind}:{root}")


def test_a_missing_mask_and_a_missing_image_are_named(tmp_path):
    root = folder(tmp_path, CLASSES)
    (root / "masks" / "3.png").unlink()
    (root / "images" / "5.png").unlink()
    with pytest.raises(DataError, match=r"2 file\(s\) without a partner .*3 \(no mask\), 5 \(no image\)"):
        datasets.load(f"segmentation:{root}")


MISTAKES = {
    "fine": (lambda k: NOISE, ["a", "b"], ("ok", r"0% of the training pixels are unlabelled; [ab] has")),
    "a class without pixels": (lambda k: NOISE, ["a", "b", "c"], ("warning", "no training pixels of c")),
    "everything ignored": (lambda k: NOISE * 0 + IGNORE, ["a", "b"], ("error", "every training pixel is unlabelled")),
    "binary masks": (lambda k: NOISE * 255, ["a", "b"], ("error", r"pixels of a and unlabelled ones \(255\) alone")),
    "images without labels": (
        lambda k: NOISE * 0 + IGNORE if k % 3 == 0 else NOISE, ["a", "b"], ("warning", "no labelled pixel")),
    "one class almost everywhere": (
        lambda k: np.indices((SIDE, SIDE)).sum(0) == 3, ["a", "b"], ("warning", "9[0-9.]+% of the labelled")),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_check_finds_the_usual_mistakes(case, tmp_path):
    masks, classes, (level, message) = MISTAKES[case]
    data = datasets.load(f"segmentation:{folder(tmp_path, lambda k: masks(k).astype(np.uint8), classes)}")
    (finding,) = check_masks(data)
    assert finding.level == level
    assert re.search(message, finding.what)
