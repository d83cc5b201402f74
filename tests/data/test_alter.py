"""Words beside the crop: torchvision's policies and functions of one's own, at the sample's address."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from tutelage.data import load
from tutelage.data.alter import POLICIES, parse_augment
from tutelage.errors import ConfigError, DataError

OWN = """
import random, numpy, torch
def noise(x): return x // 2 + int(torch.randint(9, (1,))) + numpy.random.randint(9) + random.randint(0, 9)
def flip(x): return x.flip(-1)
def grows(x): return torch.cat([x, x], -1)
def floats(x): return x.float()
def fails(x): raise ValueError("on purpose")
seven = 7
"""


@pytest.fixture
def photos(tmp_path, made, monkeypatch):
    (tmp_path / "own_looks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return f"folder:{made.photo_folder(tmp_path / 'photos', side=80, each=8)}"


def by_number(batches):
    return {int(i): x for b in batches for i, x in zip(b.index, b.inputs, strict=True)}


@pytest.mark.parametrize("word", [*POLICIES, "python:own_looks:noise", "randaugment+python:own_looks:noise"])
@pytest.mark.parametrize("source", ["photos", "digits"])
def test_a_sample_looks_the_same_in_any_batch_with_any_workers_and_otherwise_in_another_view(photos, source, word):
    name, options = (photos, {"size": 32}) if source == "photos" else ("digits", {"limit": 40})
    data, plain = load(name, augment=word, **options), load(name, augment="none", **options)
    assert data.augment == f"{'resized-crop' if source == 'photos' else 'shift'}+{word}"
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    one = by_number(data.batches("train", 4, epoch=1))
    assert torch.get_rng_state().equal(states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()
    torch.rand(3)
    for other in (data.batches("train", 3, epoch=1), data.batches("train", 4, epoch=1, workers=2)):
        assert all(x.equal(one[i]) for i, x in by_number(other).items())
    only = replace(data, augment=f"none+{word}")
    first, second, still = (by_number(d.batches("train", 4, epoch=e)) for d, e in ((only, 0), (only, 1), (plain, 0)))
    assert any(not first[i].equal(second[i]) for i in first.keys() & second.keys())
    assert any(not first[i].equal(still[i]) for i in first.keys() & still.keys())
    tests = [by_number(d.batches("test", 4)) for d in (data, plain)]
    assert all(x.equal(tests[1][i]) for i, x in tests[0].items()), "evaluation is plain"


def test_words_are_what_they_say(photos):
    plain, flipped = (load(photos, size=32, augment=a) for a in ("none", "none+python:own_looks:flip"))
    one, other = (by_number(d.batches("train", 4)) for d in (plain, flipped))
    assert all(other[i].equal(one[i].flip(-1)) for i in one)
    assert parse_augment(" crop-flip + randaugment ") == ["crop-flip", "randaugment"]


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ("randaugmet", "did you mean 'randaugment'"),
        ("crop-flip+shift", "one of none, shift"),
        ("erasing+erasing", "each word once"),
        ("", "unknown augment ''"),
        ("crop-flip+", "unknown augment ''"),
        ("python:own_looks", "python:MODULE:FUNCTION"),
        ("python:own_looks:seven", "not a function"),
        ("python:no_such_looks:f", "No module named"),
    ],
)
def test_wrong_words_are_refused_before_a_sample_is_read(photos, augment, message):
    with pytest.raises(ConfigError, match=message):
        load(photos, augment=augment)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grows", r"returned torch.uint8 \(3, 32, 64\)"),
        ("floats", "returned torch.float32"),
        ("fails", r"raised ValueError: on purpose \(.*own_looks\.py, line 7\)"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_functions_that_do_something_else_are_named(photos, name, message, workers):
    data = load(photos, size=32, augment=f"python:own_looks:{name}")
    with pytest.raises(DataError, match=message):
        next(data.batches("train", 4, workers=workers))


def test_masks_and_floats(tmp_path, made, photos):
    streets = f"segmentation:{made.camvid(tmp_path / 'streets')}"
    assert len(next(load(streets, augment="color-jitter").batches("train", 2)))
    for word in (word for word, policy in POLICIES.items() if not policy.masked):
        with pytest.raises(ConfigError, match=r"with masks use color-jitter"):
            load(streets, augment=word)
    file = made.npz(
        tmp_path / "a.npz", x_train=np.random.default_rng(0).random((40, 8, 8, 3)), x_test=None, y_test=None
    )
    with pytest.raises(DataError, match="requires 8-bit images"):
        next(load(f"npz:{file}", augment="randaugment").batches("train", 2))
