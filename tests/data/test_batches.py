"""Batches: a function of their arguments."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from tutelage.data import load
from tutelage.errors import ConfigError


@pytest.fixture
def small(tmp_path, made):
    return load(f"npz:{made.npz(tmp_path / 'a.npz')}")


@pytest.fixture
def photos(tmp_path, made):
    return load(f"folder:{made.photo_folder(tmp_path / 'photos', each=8, side=80)}", size=32)


def by_number(batches):
    return {int(i): (x, int(y)) for b in batches for i, x, y in zip(b.index, b.inputs, b.targets, strict=True)}


def same(one, other):
    one, other = list(one), list(other)
    return len(one) == len(other) and all(
        a.inputs.equal(b.inputs) and a.targets.equal(b.targets) and a.index.equal(b.index)
        for a, b in zip(one, other, strict=True)
    )


def test_types(small):
    batch = next(small.batches("train", 5))
    assert batch.inputs.dtype == torch.float32
    assert batch.inputs.shape == (5, 3, 8, 8)
    assert batch.targets.dtype == batch.index.dtype == torch.int64
    assert batch.epoch == 0
    last = next(small.batches("train", 5, memory_format=torch.channels_last))
    assert last.inputs.is_contiguous(memory_format=torch.channels_last)


def test_normalised_by_its_own_mean_and_deviation(small):
    x = torch.cat([b.inputs for b in small.batches("train", 7, train=False)])
    assert x.mean((0, 2, 3)).abs().max() < 1e-5
    assert (x.std((0, 2, 3), unbiased=False) - 1).abs().max() < 1e-5
    raw = small.train.inputs[small.train.rows[0]] / 255
    other = replace(small, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 2.0))
    want = (raw - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.5, 2.0]).view(3, 1, 1)
    assert torch.allclose(next(other.batches("train", 1, train=False)).inputs[0], want, atol=1e-6)


@pytest.mark.parametrize("name", ["small", "photos"])
def test_a_sample_looks_the_same_in_whatever_batch_order_and_rank(name, request):
    data = request.getfixturevalue(name)
    one = by_number(data.batches("train", 4, seed=3, epoch=2))
    two = by_number(data.batches("train", 3, seed=3, epoch=2))
    ranks = {**by_number(data.batches("train", 2, seed=3, epoch=2, world=2)), **one}
    for number in one.keys() & two.keys():
        assert one[number][0].equal(two[number][0])
        assert one[number][0].equal(ranks[number][0])
        assert one[number][1] == two[number][1]


def test_epochs_differ_and_views_repeat(small):
    zero, one, two = (by_number(small.batches("train", 6, epoch=e, views=2)) for e in range(3))
    assert any(not zero[i][0].equal(one[i][0]) for i in zero)
    assert all(zero[i][0].equal(two[i][0]) for i in zero)
    assert not same(small.batches("train", 6, epoch=0, views=2), small.batches("train", 6, epoch=2, views=2))


def test_workers_change_nothing(photos):
    assert same(photos.batches("train", 4, epoch=1), photos.batches("train", 4, epoch=1, workers=2))


@pytest.mark.parametrize("name", ["small", "photos"])
def test_resuming_in_mid_epoch(name, request):
    data = request.getfixturevalue(name)
    whole = list(data.batches("train", 4, seed=1, epoch=3))
    assert len(whole) == data.steps(4)
    assert same(whole[2:], data.batches("train", 4, seed=1, epoch=3, start=2))


@pytest.mark.parametrize("workers", [0, 1])
def test_global_generators_are_left_alone(photos, workers):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    list(photos.batches("train", 4, workers=workers))
    assert torch.get_rng_state().equal(states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()


def test_loading_leaves_the_global_generators_alone():
    state = torch.get_rng_state()
    load("digits", limit=100)
    assert torch.get_rng_state().equal(state)


def test_evaluation_is_in_order_and_plain(small):
    first, again = (list(small.batches("test", 5, seed=s, epoch=s)) for s in (0, 1))
    assert same(first, again)
    assert torch.cat([b.index for b in first]).tolist() == list(range(12))


def test_augment_shift_does_not_flip_and_none_does_nothing(small):
    none = replace(small, augment="none")
    plain = by_number(none.batches("train", 4, train=False))
    assert all(plain[i][0].equal(x) for i, (x, _) in by_number(none.batches("train", 4)).items())
    shift, flip = (by_number(replace(small, augment=a).batches("train", 4)) for a in ("shift", "crop-flip"))
    moved = [i for i in shift if not shift[i][0].equal(flip[i][0])]
    assert 0 < len(moved) < len(shift), "about half of them are flipped as well"


def test_image_and_mask_move_together(tmp_path, made):
    data = load(f"segmentation:{made.camvid(tmp_path / 's')}")
    data = replace(data, mean=(0.0,) * 3, std=(1.0,) * 3)
    data.train.inputs = data.train.targets[:, None].expand(-1, 3, -1, -1).contiguous()
    moved = [b for e in range(4) for b in data.batches("train", 4, epoch=e)]
    assert any((b.targets == 255).any() for b in moved)
    for batch in moved:
        values = (batch.inputs[:, 0] * 255).round().long()
        padded = (values == 0) & (batch.targets == 255)
        assert (values == batch.targets)[~padded].all()


def test_small_images_are_brought_to_the_size(tmp_path, made):
    data = load(f"npz:{made.npz(tmp_path / 'a.npz')}", size=(16, 12))
    assert next(data.batches("train", 2)).inputs.shape == (2, 3, 16, 12)


def test_fingerprint_knows_pixels_targets_and_split(tmp_path, made):
    data = load(f"npz:{made.npz(tmp_path / 'a.npz')}")
    again = load(f"npz:{made.npz(tmp_path / 'b.npz')}")
    labels = load(f"npz:{made.npz(tmp_path / 'c.npz', y_test=np.zeros(12, dtype=int))}")
    other = load(f"npz:{tmp_path / 'a.npz'}", seed=1)
    assert data.fingerprint == again.fingerprint
    assert len({data.fingerprint, labels.fingerprint, other.fingerprint}) == 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"batch_size": 0}, "batch_size=0: expected 1 or more"),
        ({"split": "trian"}, "did you mean 'train'"),
        ({"rank": 2, "world": 2}, "rank=2: expected a number below world=2"),
        ({"epoch": -1}, "epoch=-1"),
        ({"views": 0}, "views=0"),
    ],
)
def test_arguments_out_of_range_are_refused_at_once(small, wrong, words):
    with pytest.raises(ConfigError, match=words):
        small.batches(**{"split": "train", "batch_size": 4, **wrong})


def test_wrong_mean_and_augment_are_refused(small):
    with pytest.raises(ConfigError, match="expected 3 numbers each"):
        replace(small, mean=(0.5,), std=(0.5,))
    with pytest.raises(ConfigError, match="crop-flip"):
        replace(small, augment="cropflip")
    with pytest.raises(ConfigError, match="photos read from files"):
        replace(small, augment="resized-crop")
