"""`tutelage.load(run).preprocess`: a picture outside of a run gives just what the run's evaluation gave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small import digits
from torch import nn

import tutelage
from tutelage.data.splits import ViewSeed
from tutelage.errors import DataError
from tutelage.models import serialization
from tutelage.models.preprocess import Preprocess

TINY = {"epochs": 1, "device": "cpu", "batch_size": 8, "augment": "none"}


def photos(folder, sides, mode="RGB", ending="png"):
    """Two classes of ten pictures each, of these sides in turn."""
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.random.default_rng(10 * label + i).integers(0, 256, (*sides[i % len(sides)], 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{i}.{ending}")
    return f"folder:{folder}"


def trained(tmp_path, data, **keys):
    return tutelage.train("cnn2", data, out=str(tmp_path / "run"), **TINY | keys)


KINDS = {
    "small": ([(32, 32)], {}),
    "small, resized": ([(32, 32)], {"size": 24}),
    "small of several sides": ([(30, 32), (32, 24)], {}),
    "small and grey": ([(32, 32)], {}),
    "photos": ([(200, 150), (90, 160)], {"size": 32}),
    "photos, rectangular": ([(200, 150), (90, 160)], {"size": "24x40"}),
    "large jpegs": ([(400, 640)], {"size": 32}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_give_the_predictions_of_the_run(kind, tmp_path):
    sides, keys = KINDS[kind]
    jpeg, mode = "jpg" if "jpegs" in kind else "png", "L" if "grey" in kind else "RGB"
    data = photos(tmp_path / "photos", sides, mode, jpeg)
    run = trained(tmp_path, data, **keys)
    model = tutelage.load(run.folder)
    loaded = tutelage.data.load(data, size=tuple(model.card.size), augment="none")
    batch = next(loaded.batches("test", 100))
    paths = list(getattr(loaded.test, "paths", ())) or _paths(tmp_path, loaded)
    made = torch.stack([model.preprocess(path) for path in paths])
    assert torch.equal(made, batch.inputs)
    with np.load(run.folder / "student-0" / "predictions.npz") as known, torch.inference_mode():
        assert torch.allclose(model(made).softmax(1), torch.from_numpy(known["probabilities"]), atol=1e-5)
        assert known["targets"].tolist() == [int(path.parent.name == "dog") for path in paths]
    if jpeg == "png":
        for path, x in zip(paths, batch.inputs, strict=True):
            with Image.open(path) as opened:
                assert torch.equal(model.preprocess(opened), x)
                array = np.array(opened)
            assert torch.equal(model.preprocess(array), x)
            assert torch.equal(model.preprocess(torch.from_numpy(np.atleast_3d(array)).permute(2, 0, 1)), x)


def _paths(tmp_path, loaded):
    """The files of pictures that are held in memory, by their number."""
    files = [path for name in ("cat", "dog") for path in sorted((tmp_path / "photos" / name).glob("*"), key=str)]
    return [files[int(row)] for row in loaded.test.rows]


@pytest.mark.parametrize("kind", ["digits", "a dataset", "a dataset, resized", "segmentation"])
def test_so_do_pixels_in_memory_and_images_with_masks(kind, tmp_path):
    keys = {"size": 12} if "resized" in kind else {}
    if kind == "digits":
        data = tutelage.data.load("digits")
    elif kind == "segmentation":
        data = tutelage.data.load(streets(tmp_path / "s"), size=20, augment="none")
    else:
        x, y = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2
        data = tutelage.data.from_datasets([*zip(x, y, strict=True)], classes=2)
    run = tutelage.train("seg4" if kind == "segmentation" else "cnn2", data, out=str(tmp_path / "run"), **TINY | keys)
    model = tutelage.load(run.folder)
    batch = next(replace(data, size=tuple(model.card.size)).batches("test", 1))
    picture = (
        data.test.paths[0] if kind == "segmentation" else next(data.test.read([torch.tensor([0])], ViewSeed()))[0][0]
    )
    assert torch.equal(model.preprocess(picture), batch.inputs[0])


def streets(folder):
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for i in range(20):
            made = np.random.default_rng(i).integers(
                0, 3, (300, 260, 3)[: 3 if kind == "images" else 2], dtype=np.uint8
            )
            Image.fromarray(made).save(folder / kind / f"{i}.png")
    return f"segmentation:{folder}"


def test_a_picture_of_the_camera_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    image.save(tmp_path / "turned.png", exif=exif)
    pre = Preprocess(3, (30, 20), (0.0,) * 3, (1.0,) * 3, side=(30, 20))
    with Image.open(tmp_path / "turned.png") as opened:
        assert torch.equal(pre(opened), pre(image.transpose(Image.Transpose.ROTATE_270)))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.zeros(4, 8, 8), "expected an image of 3 channels"),
        (torch.zeros(8, 8, dtype=torch.uint8), "expected an image of 3 channels"),
        (torch.zeros(2, 3, 8, 8), r"is a float32 tensor of shape \(2, 3, 8, 8\)"),
        (None, "the image is None"),
        ("nowhere.png", "nowhere.png: can't be read as an image"),
        (Image.new("F", (8, 8)), "its values have no agreed range"),
    ],
)
def test_what_is_no_picture_of_its_kind_is_refused(picture, message):
    with pytest.raises(DataError, match=message):
        Preprocess(3, (8, 8), (0.5,) * 3, (0.5,) * 3)(picture)


def test_bytes_are_refused_where_nobody_said_how_floats_were_scaled():
    pre = Preprocess(1, (8, 8), (0.0,), (1.0,), known=False)
    assert torch.equal(pre(torch.full((1, 8, 8), 7.5)), torch.full((1, 8, 8), 7.5))
    with pytest.raises(DataError, match="on the scale of the training data"):
        pre(torch.zeros(1, 8, 8, dtype=torch.uint8))


class Own(nn.Sequential):
    def preprocess(self, x):
        return x


def test_a_module_keeps_a_method_of_that_name(tmp_path):
    path = tmp_path / "student.safetensors"
    serialization.save(
        path, nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), serialization.make_card("object:Own", digits(), 10)
    )
    model = serialization.load(path, Own(nn.Flatten(), nn.Linear(64, 10)))
    assert model.preprocess(3) == 3
    assert model.card.preprocess(torch.zeros(1, 8, 8, dtype=torch.uint8)).shape == (1, 8, 8)
