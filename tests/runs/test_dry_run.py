"""What a loss refuses when it sees a batch is refused before the teacher is trained."""

from __future__ import annotations

import copy

import pytest
import torch
from small import streets

import tutelage
from tutelage import models
from tutelage.errors import ConfigError
from tutelage.losses.base import Response

DIGITS = {"data": "digits", "teacher": "cnn4", "student": "cnn2", "epochs": 1, "labels_per_class": 4}

ON_DIGITS = {
    "fsp": "expected equal shapes",
    "attention_mse": "expected equal shapes",
    "dsd": "expected equal shapes",
    "patientkd": "expected equal shapes",
    "minilm_relation": "num_relation_heads",
    "token_mmd": "name layers of equal width",
    "ofa_kd": "use classes=10",
    "ifvd": "for segmentation",
    "cirkd_memory": "for segmentation",
}
SEQUENCES = ("akl", "gkd", "skew_kl", "skew_rkl", "sparse_hinge", "sparse_topk", "taid", "token_ce", "tvd")


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory):
    return streets(tmp_path_factory.mktemp("streets"), 24) | {"batch_size": 8}


def refused(folder, **keys) -> str:
    with pytest.raises(ConfigError) as error:
        tutelage.distill(out=str(folder), **keys)
    assert not folder.exists()
    return str(error.value)


@pytest.mark.parametrize(("method", "words"), ON_DIGITS.items())
def test_losses_that_cannot_compare_these_networks(method, words, tmp_path):
    assert words in refused(tmp_path / "run", method=method, **DIGITS)


@pytest.mark.parametrize("method", SEQUENCES)
def test_losses_of_tokens_on_maps_of_classes(method, segmentation, tmp_path):
    assert "it is for language models" in refused(tmp_path / "run", method=method, **segmentation)


def test_an_attempt_changes_no_result(tmp_path, monkeypatch):
    keys = DIGITS | {"method": "kd+crd", "baseline": False}
    first = tutelage.distill(out=str(tmp_path / "a"), **keys)
    monkeypatch.setattr("tutelage.runs.dry_run.take_turns", lambda *_: None)
    second = tutelage.distill(out=str(tmp_path / "b"), **keys)
    ours, theirs = (run.student.state_dict() for run in (first, second))
    assert all(ours[name].equal(theirs[name]) for name in ours)


class Largest(Response):
    """The distance of the sixteen samples that differ most, and it counts its calls."""

    data_dependent_size = True

    def build(self, student, teacher, samples):
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, student, teacher, *, epochs):
        self.calls += 1
        return (student - teacher).abs().sum(1).topk(16).values / (epochs - 1)


def test_what_a_loss_wants_of_a_whole_batch_counts(tmp_path):
    keys = DIGITS | {"epochs": 2, "baseline": False, "labels_per_class": 10}
    made = tutelage.distill(out=str(tmp_path / "run"), method=Largest(), batch_size=50, **keys)
    assert made.folder.exists()
    with pytest.raises(RuntimeError, match="out of range"):
        tutelage.distill(out=str(tmp_path / "small"), method=Largest(), batch_size=10, **keys)
    assert not (tmp_path / "small").exists()


def test_objects_are_left_as_they_were(tmp_path):
    student, teacher = (models.create(name, classes=10, channels=1).model for name in ("cnn2", "cnn4"))
    before = [copy.deepcopy(model.state_dict()) for model in (student, teacher)]
    loss = Largest()
    with pytest.raises(RuntimeError, match="out of range"):
        tutelage.distill(student, teacher, method=loss, out=str(tmp_path / "run"), batch_size=10, labels_per_class=4)
    for model, state in zip((student, teacher), before, strict=True):
        assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert dict(loss.named_buffers()) == {}
