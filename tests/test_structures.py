"""The values that travel."""

from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import pytest
import torch

from tutelage.errors import ModelError
from tutelage.structures import Batch, Outputs, response_of


def test_a_batch_says_only_what_it_has():
    batch = Batch(torch.zeros(3, 1), index=torch.arange(3), epoch=0.0, extras={"boxes": 1, "nothing": None})
    assert set(batch.available()) == {"inputs", "index", "epoch", "boxes"}
    assert len(batch) == 3
    assert len(Batch({"image": torch.zeros(5, 1)})) == 5


def test_batches_and_outputs_are_values():
    with pytest.raises(FrozenInstanceError):
        Batch(torch.zeros(3, 1)).epoch = 1.0
    with pytest.raises(FrozenInstanceError):
        Outputs(torch.zeros(3, 2)).members = []


def test_a_batch_moves_whole_and_takes_its_layout():
    nested = {"text": {"ids": torch.zeros(2)}, "word": "as it is"}
    batch = Batch({"image": torch.zeros(2, 3, 4, 4), "age": torch.zeros(2, 1)}, torch.zeros(2), extras=nested)
    moved = batch.to("meta", torch.channels_last)
    assert moved.inputs["image"].is_contiguous(memory_format=torch.channels_last)
    assert {moved.inputs["age"].device.type, moved.targets.device.type} == {"meta"}
    assert moved.extras["text"]["ids"].device.type == "meta"
    assert moved.extras["word"] == "as it is"
    assert batch.targets.device.type == "cpu"


def test_outputs_name_what_was_captured():
    outputs = Outputs(torch.ones(1, requires_grad=True), {"a": torch.ones(1, requires_grad=True)})
    assert not outputs.detach()["a"].requires_grad
    assert not outputs.detach().response.requires_grad
    with pytest.raises(ModelError, match="'b' was not captured; captured: a"):
        outputs["b"]


def test_the_response_is_found_in_what_models_return():
    x = torch.ones(2, 3)
    for raw in (x, SimpleNamespace(logits=x), {"out": x, "aux": 0}, {"logits": x}, (x, "aux"), [[x], 1]):
        assert response_of(raw) is x
    for raw in (None, {"loss": x}, (), "text"):
        with pytest.raises(ModelError, match="holds no response: expected a floating-point tensor"):
            response_of(raw)
