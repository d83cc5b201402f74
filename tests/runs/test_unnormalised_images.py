"""Runs on images that can't be shown as they are end with a report that says how they are shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import tutelage

KEYS = {"epochs": 1, "teacher_epochs": 1, "batch_size": 16, "device": "cpu", "baseline": False, "seed": 3}


def ran(out, images, masks=False, **keys):
    """A short run on images, its examples and its report's text."""
    count = len(images)
    y = torch.arange(count)[:, None, None].expand(count, *images.shape[2:]) % 3 if masks else torch.arange(count) % 3
    data = TensorDataset(images[: count // 2], y[: count // 2]), TensorDataset(images[count // 2 :], y[count // 2 :])
    student, teacher, task = ("seg4", "seg8", "segmentation") if masks else ("cnn2", "cnn4", "classification")
    run = tutelage.distill(student, teacher, data, classes=3, task=task, out=str(out), **KEYS | keys)
    file = run.folder / "examples.npz"
    assert file.exists()
    return np.load(file), run.report.read_text("utf-8")


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
def test_images_of_any_number_of_channels(tmp_path, channels, masks):
    images = torch.randint(0, 256, (60, channels, 8, 8), dtype=torch.uint8)
    examples, page = ran(tmp_path / "r", images, masks)
    said = f"Of an image's {channels} channels the first is shown."
    assert (said.replace("'", "&#39;") in page or said in page) == (channels not in (1, 3))
    shown = images[30:][torch.from_numpy(examples["index"])]
    shown = shown if channels == 3 else shown[:, :1].expand(-1, 3, -1, -1)
    assert np.array_equal(examples["images"], shown.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("keys", [{}, {"normalised": True}])
@pytest.mark.parametrize("masks", [False, True])
def test_floats_of_which_nobody_knows_what_they_are_pixels_of(tmp_path, keys, masks):
    examples, page = ran(tmp_path / "r", 7 * torch.randn(60, 1, 8, 8), masks, **keys)
    assert "each image is shown from its lowest to its highest" in page
    assert (examples["images"].min((1, 2, 3)) == 0).all()
    assert (examples["images"].max((1, 2, 3)) == 255).all()


def test_floats_that_were_normalised_by_what_is_known_are_shown_as_they_were(tmp_path):
    pixels = torch.rand(60, 3, 8, 8)
    by = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    mean, std = (torch.tensor(v)[:, None, None] for v in by)
    examples, page = ran(tmp_path / "r", (pixels - mean) / std, normalised=by)
    expected = (255 * pixels[30:][torch.from_numpy(examples["index"])]).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(examples["images"].astype(int) - expected).max() <= 1
    assert "lowest" not in page


def test_an_image_of_one_value(tmp_path):
    examples, _ = ran(tmp_path / "r", torch.full((60, 1, 8, 8), 5.0), masks=True)
    assert (examples["images"] == 0).all()
