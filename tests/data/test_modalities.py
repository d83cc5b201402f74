"""Modalities: shapes, addressed augmentation, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage import data as datasets
from tutelage.data import modalities
from tutelage.data.augment import shift
from tutelage.errors import ConfigError, DataError

SHAPES = {"table": (5,), "series": (2, 16), "image": (13, 8, 8), "volume": (1, 8, 8, 8), "clip": (3, 4, 8, 8)}


def save(path: Path, modality: str, targets: str = "classes", samples: int = 60) -> str:
    rng = np.random.default_rng(0)
    y = np.arange(samples) % 3
    x = rng.normal(size=(samples, *SHAPES[modality])).astype(np.float32) + y.reshape(-1, *(1 for _ in SHAPES[modality]))
    y = y if targets == "classes" else y[:, None] * [1.0, 10.0]
    np.savez(path, x_train=x, y_train=y, modality=modality)
    return f"npz:{path}"


@pytest.mark.parametrize("modality", SHAPES)
def test_arrays_of_any_dimensions_are_data(tmp_path, modality):
    data = datasets.load(save(tmp_path / "a.npz", modality))
    channels, *size = SHAPES[modality]
    assert (data.modality, data.channels, data.size) == (modality, channels, tuple(size))
    batch = next(data.batches("train", 1000, train=False))
    assert batch.inputs.shape[1:] == SHAPES[modality]
    assert batch.inputs.movedim(1, 0).flatten(1).mean(1).abs().max() < 0.05
    assert data.example(2).inputs.shape == (2, *SHAPES[modality])
    assert len(data.classes) == 3


@pytest.mark.parametrize("modality", SHAPES)
def test_floating_point_targets_are_values(tmp_path, modality):
    data = datasets.load(save(tmp_path / "a.npz", modality, "values"))
    assert (data.task, data.classes, data.values.names) == ("regression", (), ("y0", "y1"))
    targets = next(data.batches("train", 1000)).targets
    assert torch.allclose(targets[:, 0], targets[:, 1], atol=1e-5)


@pytest.mark.parametrize("modality", ["series", "volume"])
def test_shifts_have_an_address(tmp_path, modality):
    data = datasets.load(save(tmp_path / "a.npz", modality), augment="shift")
    by_batch = [next(data.batches("train", size, seed=3, epoch=2)) for size in (4, 40)]
    order = {int(number): row for row, number in enumerate(by_batch[1].index)}
    for row, number in enumerate(by_batch[0].index):
        assert by_batch[0].inputs[row].equal(by_batch[1].inputs[order[int(number)]])


def test_a_shift_moves_each_dimension_and_fills_with_zeros():
    x = torch.arange(1.0, 41).view(1, 1, 5, 8).expand(50, 1, 5, 8)
    moved = shift(x, torch.arange(50), seed=0, view=0, most=1)
    padded = torch.nn.functional.pad(x[:1], (1, 1, 1, 1))
    windows = [padded[:, :, i : i + 5, j : j + 8] for i in range(3) for j in range(3)]
    places = [next(k for k, window in enumerate(windows) if window[0].equal(y)) for y in moved]
    assert len({*places}) == 9


@pytest.mark.parametrize(
    ("modality", "augment", "message"),
    [("table", "shift", "isn't for table data: use none"), ("series", "crop-flip", "isn't for series data"),
     ("volume", "randaugment", "isn't for volume data")],
)  # fmt: skip
def test_augmentations_of_other_modalities_are_refused(tmp_path, modality, augment, message):
    with pytest.raises(ConfigError, match=message):
        datasets.load(save(tmp_path / "a.npz", modality), augment=augment)


def test_an_unknown_modality_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((9, 4)), y_train=np.arange(9) % 2, modality="smell")
    with pytest.raises((ConfigError, DataError), match="unknown modality 'smell'"):
        datasets.load(f"npz:{tmp_path / 'a.npz'}")
    with pytest.raises(ConfigError, match="unknown modality 'serie': did you mean 'series'"):
        modalities.find("serie")
