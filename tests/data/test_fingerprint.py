"""What a replaced photo of the same name and size does: nothing by names, a refusal by content."""

import os

import pytest
import torch

import tutelage
from tutelage.data import load
from tutelage.data.preparation import prepare_data as prepared
from tutelage.errors import CheckpointError, ConfigError


def swap(one, other):
    """Two files of one size change their contents."""
    contents = [one.read_bytes(), other.read_bytes()]
    size = max(map(len, contents))
    for path, content in zip((one, other), reversed(contents), strict=True):
        path.write_bytes(content.ljust(size, b"\0"))
    assert os.path.getsize(one) == os.path.getsize(other)


@pytest.fixture
def photos(tmp_path, made):
    root = made.photo_folder(tmp_path / "photos", side=80, each=8)
    swap(root / "cat" / "0.png", root / "dog" / "0.png")  # of the same size from here on
    return root


@pytest.mark.parametrize(("by", "same"), [("names", True), ("content", False)])
@pytest.mark.parametrize("options", [{}, {"classes": ["dog", "cat"]}, {"limit": 8}])
def test_a_replaced_photo_is_other_data_by_content(photos, by, same, options):
    def known():
        data = load(f"folder:{photos}", size=16, fingerprint=by, **options)
        return data.fingerprint, data.train.take(torch.arange(len(data.train))).fingerprint()

    before = known()
    assert before == known()
    for i in range(8):
        swap(photos / "cat" / f"{i}.png", photos / "dog" / f"{i}.png")
    first = known()
    for i in range(8):
        swap(photos / "cat" / f"{i}.png", photos / "dog" / f"{i}.png")
    again = known()
    assert (first == again) == same


def test_resume_refuses_a_replaced_photo_if_content_counts(photos, tmp_path):
    run = tutelage.train(
        "cnn2", f"folder:{photos}", size=16, epochs=1, batch_size=4, fingerprint="content", out=str(tmp_path / "run")
    )
    assert tutelage.resume(run.folder).result == run.result
    swap(photos / "cat" / "0.png", photos / "dog" / "0.png")
    with pytest.raises(CheckpointError, match="was begun on other data"):
        tutelage.resume(run.folder)


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="fingerprint='mtime'"):
        tutelage.distill(fingerprint="mtime")


def test_data_that_is_passed_keeps_its_own_way_of_fingerprinting(photos):
    data = load(f"folder:{photos}", size=16, fingerprint="content")
    before = data.train.fingerprint()
    assert prepared("photos", data).train.fingerprint() != before  # by names
    assert data.train.fingerprint() == before
