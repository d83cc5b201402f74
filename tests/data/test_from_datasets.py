"""Somebody's own Datasets."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tutelage.data import from_datasets
from tutelage.errors import ConfigError, DataError


class Noisy(Dataset):
    """Draws from every global generator."""

    targets = torch.arange(20) % 2

    def __len__(self):
        return 20

    def __getitem__(self, i):
        x = torch.rand(3, 4, 4) + np.random.rand() + random.random()
        return x, self.targets[i]


class Items(Dataset):
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        if isinstance(self.items[i], Exception):
            raise self.items[i]
        return self.items[i]


def bytes_of(n=20):
    return TensorDataset(torch.randint(0, 256, (n, 3, 6, 6), dtype=torch.uint8), torch.arange(n) % 2)


def test_bytes_are_measured_and_floats_are_taken_as_they_are():
    data = from_datasets(bytes_of(), test=bytes_of(6), classes=["a", "b"])
    assert (len(data.train), len(data.val), len(data.test)) == (18, 2, 6)
    x = torch.cat([b.inputs for b in data.batches("train", 5, train=False)])
    assert x.mean((0, 2, 3)).abs().max() < 1e-5
    floats = from_datasets(Noisy(), classes=2)
    assert (floats.mean, floats.std) == ((0.0,) * 3, (1.0,) * 3)
    own = from_datasets(bytes_of(), classes=2, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert own.mean == (0.5,) * 3


def test_pil_images():
    grey, red = Image.new("L", (5, 4), 9), Image.new("P", (5, 4), 3)
    assert from_datasets(Items(*[(grey, i % 2) for i in range(8)]), classes=2).channels == 1
    data = from_datasets(Items(*[(red, i % 2) for i in range(8)]), classes=2)
    assert (data.channels, data.size) == (3, (4, 5))


def test_their_randomness_has_an_address_and_touches_nothing():
    data = from_datasets(Noisy(), classes=2)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    one = list(data.batches("train", 4, epoch=1))
    assert torch.get_rng_state().equal(states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()
    torch.rand(3)
    again, later = list(data.batches("train", 4, epoch=1, workers=2)), list(data.batches("train", 4, epoch=2))
    assert all(a.inputs.equal(b.inputs) for a, b in zip(one, again, strict=True))
    assert not any(a.inputs.equal(b.inputs) for a, b in zip(one, later, strict=True))


def test_a_loader_gives_its_dataset():
    data = from_datasets(DataLoader(bytes_of(), batch_size=3, shuffle=True), classes=2, augment="crop-flip")
    assert len(data.train) + len(data.val) + len(data.test) == 20
    with pytest.raises(DataError, match="its own collate_fn"):
        from_datasets(DataLoader(bytes_of(), collate_fn=lambda items: items), classes=2)


def test_masks():
    items = [(torch.zeros(3, 4, 4, dtype=torch.uint8), torch.full((4, 4), v)) for v in (0, 1, 255, 0, 1, 255)]
    data = from_datasets(Items(*items), classes=2, task="segmentation", augment="crop-flip")
    assert next(data.batches("train", 2)).targets.shape == (2, 4, 4)


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(3, 4, 4), 0


X = torch.zeros(3, 4, 4)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (Stream(), "map-style Dataset"),
        (7, "map-style Dataset"),
        (Items(), "is empty"),
        (Items(X), r"sample 0 is a float32 tensor of shape \(3, 4, 4\): expected \(image, target\)"),
        (Items((X[0, 0], 0)), r"shape \(4,\)"),
        (Items((X * torch.nan, 0)), "NaN or infinite"),
        (Items((X, 0.5)), "expected an integer class"),
        (Items((X, 2)), "labels from 2 to 2, but there are 2 classes"),
        (Items((X, -1)), "labels from -1"),
        (Items(ValueError("disc is full")), r"ValueError: disc is full"),
    ],
)
def test_wrong_datasets(train, words):
    with pytest.raises(DataError, match=words):
        from_datasets(train, classes=2)


@pytest.mark.parametrize("workers", [0, 1])
def test_wrong_samples_are_named_when_read(workers):
    good = [(X, i % 2) for i in range(6)]
    data = from_datasets(Items(*good, OSError("gone")), Items(*good), Items(*good), classes=2)
    with pytest.raises(DataError, match=r"^train: sample 6 can't be read \(OSError: gone\)\.$"):
        list(data.batches("train", 3, workers=workers))
    data = from_datasets(Items(*good, (torch.zeros(3, 5, 4), 1)), Items(*good), Items(*good), classes=2)
    with pytest.raises(DataError, match="different shapes"):
        list(data.batches("train", 7, workers=workers))


def test_targets_beyond_the_classes_and_bad_fraction():
    with pytest.raises(DataError, match="sample 1 has labels from 1"):
        from_datasets(Noisy(), classes=1)
    with pytest.raises(ConfigError, match=r"val=0\.9"):
        from_datasets(bytes_of(), classes=2, val_fraction=0.9)
