"""Blocks that learn side by side, each from what the teacher's block before it gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import digest, net
from torch import nn

import tutelage
from tutelage import saved
from tutelage.config import check
from tutelage.errors import TutelageError
from tutelage.schemes.blockwise import Blockwise, Fed, replaced
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen
from tutelage.terms import Terms
from tutelage.values import Batch

LIT = {"name": "lit", "connector": "identity"}
METHOD = [{"name": "ce", "weight": 0.075}, {"name": "kd", "weight": 0.675}, LIT]
TINY: dict[str, Any] = {"epochs": 3, "teacher_epochs": 1, "limit": 60, "batch_size": 20, "device": "cpu"}
SMALL = {"teacher": "cnn2", "student": "cnn2"}
BATCH = Batch(torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(6), torch.arange(6))


def blockwise(method: Any = METHOD, student: str = "resnet8", teacher: str = "resnet14") -> Blockwise:
    task = Classification()
    scheme = Blockwise(Fed(net(student, 1), Terms.of(method), task), Frozen(net(teacher, 2), task))
    scheme.wire(BATCH, 20)
    return scheme.train()


def heard(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """What a resnet's stages give."""
    found = [model.layer1(F.relu(model.bn1(model.conv1(x))))]
    found.append(model.layer2(found[-1]))
    return [*found, model.layer3(found[-1])]


def test_a_step_is_the_papers_by_hand():
    scheme = blockwise()
    calls: list[str] = []
    student, teacher = scheme.students()["student"].model, scheme.teacher.tapped.model
    for name, network in (("student", student), ("teacher", teacher)):
        network.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    ((_, losses),) = scheme.turns(BATCH, 0)
    assert calls == ["teacher", "student"]
    with torch.no_grad():
        t = heard(teacher, BATCH.inputs)
        told = teacher.fc(t[-1].mean((2, 3)))
    first = student.layer1(F.relu(student.bn1(student.conv1(BATCH.inputs))))
    s = [first, student.layer2(t[0]), student.layer3(t[1])]
    z = student.fc(s[-1].mean((2, 3)))
    by_hand = {
        "ce": 0.075 * F.cross_entropy(z, BATCH.targets),
        "kd": 0.675 * 16 * F.kl_div(F.log_softmax(z / 4, 1), F.softmax(told / 4, 1), reduction="batchmean"),
        "lit": 0.25 * sum((a - b).pow(2).mean() for a, b in zip(s, t, strict=True)),
    }
    for name, value in by_hand.items():
        assert torch.allclose(losses[name], value, rtol=1e-4)
    parameters = list(student.parameters())
    mine, theirs = (torch.autograd.grad(sum(found.values()), parameters) for found in (losses, by_hand))
    for p, q in zip(mine, theirs, strict=True):
        assert torch.allclose(p, q, atol=1e-4)


def test_each_block_learns_by_itself():
    scheme = blockwise()
    student = scheme.students()["student"].model
    ((_, losses),) = scheme.turns(BATCH, 0)
    (losses["ce"] + losses["kd"]).backward()
    trained = {name.partition(".")[0] for name, p in student.named_parameters() if p.grad is not None}
    assert trained == {"layer3", "fc"}
    assert all(p.grad is None for p in scheme.teacher.parameters())


def test_named_layers_are_the_blocks_whatever_their_order():
    lit = LIT | {"student": ["layer3", "layer1"], "teacher": ["layer3", "layer1"]}
    scheme = blockwise([{"name": "ce"}, lit])
    assert scheme.players["student"].fed == {"layer1": "layer1"}


def test_what_was_replaced_is_the_networks_own_again():
    model, x = net("cnn2"), BATCH.inputs
    whole = model(x)
    with replaced(model, {"layer1": torch.zeros(6, 2, 8, 8)}):
        assert torch.equal(model(x), model(torch.zeros_like(x)))
    assert torch.equal(model(x), whole)


def test_writing_in_place_leaves_the_teachers_feature_as_it_is():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    feature = -torch.ones(2, 3)
    with replaced(model, {"0": feature}):
        assert torch.equal(model(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert torch.equal(feature, -torch.ones(2, 3))


# a run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tutelage.Finished:
    return tutelage.distill(**TINY | {"epochs": 2}, method="lit", out=str(tmp_path_factory.mktemp("runs") / "lit"))


def test_one_word_is_a_run_that_ends_in_a_bare_student(run):
    assert tutelage.load(run.folder).state_dict().keys() == net("resnet8").state_dict().keys()
    assert saved.card(run.folder).model == "resnet8"
    assert run.result["teacher"]["model"] == "resnet14"
    assert list(run.result["before"]) == ["blocks"]
    epochs = {p.parent.name: json.loads(p.read_text())["epochs"] for p in run.folder.glob("*/phase.json")}
    assert epochs == {"teacher": 1, "alone-0": 2, "blocks-0": 1, "student-0": 1}
    assert "blocks (resnet8)" in run.report.read_text()


def test_a_crash_among_the_blocks_costs_no_bit(tmp_path: Path, monkeypatch):
    class Crash(Exception):
        pass

    def crash(self) -> None:
        self.count = getattr(self, "count", 0) + 1
        if self.count == 2:
            raise Crash

    keys = TINY | SMALL | {"method": "lit", "checkpoint_every": 0, "baseline": False, "teacher_epochs": 0}
    whole = tutelage.distill(**keys, out=str(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(Blockwise, "after_step", crash)
        with pytest.raises(Crash):
            tutelage.distill(**keys, out=str(tmp_path / "again"))
    again = tutelage.resume(tmp_path / "again")
    assert digest(tutelage.load(again.folder)) == digest(tutelage.load(whole.folder))


def test_only_the_digits_have_networks_of_their_own():
    assert (check({"method": "lit"}).teacher, check({"method": "lit"}).student) == ("resnet14", "resnet8")
    assert check({"method": "lit", "teacher": "resnet20"}).teacher == "resnet20"
    with pytest.raises(TutelageError, match="no student"):
        check({"method": "lit", "data": "folder:photos"})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "lit", "teacher": "cnn4", "student": "cnn2"}, r"layer1 gives \(2, 8, 8\) and .*layer1 \(4, 8, 8\)"),
        ({"method": "kd", "scheme": "blockwise", **SMALL}, "blocks where a term compares layers: add one"),
        ({"method": "lit", "compile": True, **SMALL}, "can't be compiled, recomputed or divided"),
        ({"method": "lit", "recompute": True, **SMALL}, "leave compile, recompute and strategy out"),
        ({"method": [LIT], "scheme": "blockwise", "teacher": "none", "student": "cnn2"}, "needs a teacher"),
    ],
)
def test_what_does_not_fit_is_refused_before_there_is_a_folder(tmp_path: Path, keys, message):
    with pytest.raises(TutelageError, match=message):
        tutelage.distill(**TINY | keys, out=str(tmp_path / "r"))
    assert not (tmp_path / "r").exists()
