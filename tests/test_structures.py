"""The values that travel."""

import ast
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

import tutelage
from tutelage.errors import ModelError
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.structures import Batch, Outputs, response_of
from tutelage.tasks.classification import Classification


def test_a_batch_says_only_what_it_has():
    batch = Batch(torch.zeros(3, 1), index=torch.arange(3), epoch=0.0, extras={"boxes": 1, "nothing": None})
    assert set(batch.available()) == {"inputs", "index", "epoch", "boxes"}
    assert len(batch) == 3
    assert len(Batch({"image": torch.zeros(5, 1)})) == 5


def test_nobody_writes_into_the_fields_of_batches_and_outputs():
    names = {field.name for kind in (Batch, Outputs) for field in fields(kind)}
    written = [
        f"{path.name}:{node.lineno} {ast.unparse(node)}"
        for path in Path(tutelage.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)
        for owner in [node.value if isinstance(node, ast.Subscript) else node]
        if isinstance(owner, ast.Attribute) and owner.attr in names and ast.unparse(owner.value) != "self"
    ]
    assert written == []


def test_mixed_precision_of_a_loop_of_ones_own_takes_batches():
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    terms = Terms.from_method(KD(), Classification().task_loss())
    player = fabric.setup_module(Player(nn.Linear(3, 2), terms, Classification()))
    losses = player(Batch(torch.randn(4, 3), torch.tensor([0, 1, 0, 1])), Outputs(torch.randn(4, 2)))
    assert set(losses) == {"ce", "kd"}


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
