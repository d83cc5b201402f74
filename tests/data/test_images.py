"""Images without labels: a folder of any depth, or a Dataset of images alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage import data as datasets
from tutelage.data.splits import InMemorySplit, ViewSeed
from tutelage.errors import ConfigError, DataError


def photos(folder, count=12, side=16):
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / ("deep/er" if number % 2 else ".") / f"{number}.{'png' if number % 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.mark.parametrize("side", [16, 80])
def test_a_folder_of_any_depth_is_cut_into_three_splits_without_targets(tmp_path, side):
    data = datasets.load(f"images:{photos(tmp_path / 'pics', side=side)}", size=16)
    assert [len(getattr(data, split)) for split in ("train", "val", "test")] == [9, 1, 2]
    assert (data.task, data.target, data.classes) == ("backbone", "none", ())
    batch = next(data.batches("train", 4))
    assert batch.targets is None
    assert batch.inputs.shape == (4, 3, 16, 16)
    assert "targets" not in batch.available()
    assert batch.part(1, 3).to("cpu").targets is None


def test_workers_and_views_read_the_same_images(tmp_path):
    data = datasets.load(f"images:{photos(tmp_path / 'pics', side=80)}", size=32, augment="resized-crop+color-jitter")
    one, two = (next(data.batches("train", 4, seed=3, workers=workers)).inputs for workers in (0, 1))
    assert torch.equal(one, two)
    views = [next(data.view_batches([torch.arange(3)], view)).inputs for view in (0, 1)]
    assert not torch.equal(*views)


def test_splits_may_be_folders(tmp_path):
    root = tmp_path / "pics"
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        photos(root / split, count)
    data = datasets.load(f"images:{root}")
    assert [len(getattr(data, split)) for split in ("train", "val", "test")] == [6, 2, 3]
    photos(root / "other", 1)
    assert len(datasets.load(f"images:{root}").train) < 12  # train/ is a folder like any other now


def test_the_fingerprint_is_that_of_the_images(tmp_path):
    root = photos(tmp_path / "pics")
    before = datasets.load(f"images:{root}").fingerprint
    assert datasets.load(f"images:{root}").fingerprint == before
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(root / "0.jpg")
    assert datasets.load(f"images:{root}").fingerprint != before


def test_damaged_and_missing_images_are_named(tmp_path):
    root = photos(tmp_path / "pics")
    (root / "torn.png").write_bytes((root / "deep/er/1.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"torn\.png"):
        datasets.load(f"images:{root}")
    (root / "torn.png").rename(root / "notes.txt")
    assert any("left out" in note for note in datasets.load(f"images:{root}").notes)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no images"):
        datasets.load(f"images:{tmp_path / 'empty'}")


@pytest.mark.parametrize("options", [{"labels_per_class": 3}, {"classes": ["a", "b"]}, {"split": "classes"}])
def test_options_that_need_labels_are_refused(tmp_path, options):
    with pytest.raises((ConfigError, DataError), match="single class per sample"):
        datasets.load(f"images:{photos(tmp_path / 'pics')}", **options)


def test_a_split_in_memory_may_have_no_targets():
    split = InMemorySplit(torch.arange(12).reshape(4, 3), None)
    ((x, y),) = split.take(torch.tensor([2, 0])).read([torch.tensor([0])], ViewSeed())
    assert (x.tolist(), y) == ([[6, 7, 8]], None)
    assert (split.labels, split.strata, split.values) == (None, None, None)


class Pictures:
    """A Dataset of images alone."""

    def __init__(self, form):
        self.form = form
        self.images = torch.randint(
            0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        return self.form(self.images[number])


@pytest.mark.parametrize(
    "form",
    [lambda x: x, lambda x: (x,), lambda x: {"image": x}, lambda x: Image.fromarray(x.permute(1, 2, 0).numpy())],
    ids=["tensor", "tuple", "dict", "PIL"],
)
def test_a_dataset_of_images_alone_has_no_labels(form):
    data = datasets.from_datasets(Pictures(form))
    assert (data.task, data.target, len(data.train)) == ("backbone", "none", 14)
    assert next(data.batches("train", 5)).targets is None
    assert data.fingerprint == datasets.from_datasets(Pictures(form)).fingerprint


def test_labels_of_a_dataset_may_be_left_out():
    data = datasets.from_datasets(Pictures(lambda x: (x, 3)), task="backbone")
    assert next(data.batches("val", 1)).targets is None
