"""What a loss refuses when it sees a batch is refused before the teacher is trained."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import tutelage
from tutelage.errors import ConfigError

DIGITS = {"data": "digits", "teacher": "cnn4", "student": "cnn2", "epochs": 1, "labels_per_class": 4}

ON_DIGITS = {
    "fsp": "expected equal shapes",
    "attention_mse": "expected equal shapes",
    "dsd": "expected equal shapes",
    "patientkd": "expected equal shapes",
    "minilm_relation": "num_relation_heads",
    "token_mmd": "name layers of one width",
    "ofa_kd": "take classes=10",
    "ifvd": "for segmentation",
    "cirkd_memory": "for segmentation",
}
SEQUENCES = ("akl", "gkd", "skew_kl", "skew_rkl", "sparse_hinge", "sparse_topk", "taid", "token_ce", "tvd")


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("streets"), np.random.default_rng(0)
    for kind, shape, top in (("images", (16, 16, 3), 256), ("masks", (16, 16), 3)):
        (folder / kind).mkdir()
        for i in range(24):
            Image.fromarray(rng.integers(top, size=shape, dtype=np.uint8)).save(folder / kind / f"{i:02d}.png")
    keys = {"data": f"segmentation:{folder}", "teacher": "seg8", "student": "seg8", "size": 16}
    return keys | {"epochs": 1, "batch_size": 8}


def refused(folder, **keys) -> str:
    with pytest.raises(ConfigError) as error:
        tutelage.distill(out=str(folder), **keys)
    assert not folder.exists()
    return str(error.value)


@pytest.mark.parametrize(("method", "words"), ON_DIGITS.items())
def test_losses_that_cannot_compare_these_networks(method, words, tmp_path):
    assert words in refused(tmp_path / "run", method=method, **DIGITS)


@pytest.mark.parametrize("method", SEQUENCES)
def test_losses_of_tokens_on_maps_of_classes(method, streets, tmp_path):
    assert "it is for language models" in refused(tmp_path / "run", method=method, **streets)


def test_an_attempt_changes_no_result(tmp_path, monkeypatch):
    keys = DIGITS | {"method": "kd+crd", "baseline": False}
    first = tutelage.distill(out=str(tmp_path / "a"), **keys)
    monkeypatch.setattr("tutelage.run.attempt", lambda *_: None)
    second = tutelage.distill(out=str(tmp_path / "b"), **keys)
    ours, theirs = (run.student.state_dict() for run in (first, second))
    assert all(ours[name].equal(theirs[name]) for name in ours)
