"""Blocks that learn in parallel, each from the output of the teacher's previous block."""

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
from tutelage.config.schema import check
from tutelage.errors import TutelageError
from tutelage.models import serialization
from tutelage.objective.terms import Terms
from tutelage.schemes.blockwise import Blockwise, BlockwisePlayer, modules_around, replaced_outputs
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen

LIT = {"name": "lit", "connector": "identity"}
METHOD = [{"name": "ce", "weight": 0.3}, {"name": "kd", "temperature": 6.0, "weight": 0.02}, LIT]
TINY: dict[str, Any] = {"epochs": 3, "teacher_epochs": 1, "limit": 60, "batch_size": 20, "device": "cpu"}
SMALL = {"teacher": "cnn2", "student": "cnn2"}
BATCH = Batch(torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(6), torch.arange(6))


def blockwise(method: Any = METHOD, student="resnet8", teacher="resnet14", copy: bool = True) -> Blockwise:
    task = Classification()
    small, large = (net(name, seed) if isinstance(name, str) else name for seed, name in ((1, student), (2, teacher)))
    scheme = Blockwise(BlockwisePlayer(small, Terms.from_method(method), task, copy), Frozen(large, task))
    scheme.wire(BATCH, 20)
    return scheme.train()


def stage_features(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Return the features of a resnet's stages."""
    features = [model.layer1(F.relu(model.bn1(model.conv1(x))))]
    features.append(model.layer2(features[-1]))
    return [*features, model.layer3(features[-1])]


def test_a_step_is_the_papers_by_hand():
    scheme = blockwise()
    calls: list[str] = []
    student, teacher = scheme.students()["student"].model, scheme.teacher.feature_extractor.model
    for name, network in (("student", student), ("teacher", teacher)):
        network.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    ((_, losses),) = scheme.turns(BATCH, 0)
    assert calls == ["teacher", "student", "student"]
    with torch.no_grad():
        t = stage_features(teacher, BATCH.inputs)
        teacher_logits = teacher.fc(t[-1].mean((2, 3)))
    first = student.layer1(F.relu(student.bn1(student.conv1(BATCH.inputs))))
    s = [first, student.layer2(t[0]), student.layer3(t[1])]
    z = student.fc(stage_features(student, BATCH.inputs)[-1].mean((2, 3)))
    by_hand = {
        "ce": 0.3 * F.cross_entropy(z, BATCH.targets),
        "kd": 0.02 * 36 * F.kl_div(F.log_softmax(z / 6, 1), F.softmax(teacher_logits / 6, 1), reduction="batchmean"),
        "lit": 0.125 * sum((a - b).pow(2).mean() for a, b in zip(s, t, strict=True)),
    }
    for name, value in by_hand.items():
        assert torch.allclose(losses[name], value, rtol=1e-4)
    parameters = [p for p in student.parameters() if p.requires_grad]
    actual, expected_gradients = (
        torch.autograd.grad(sum(losses_of.values()), parameters) for losses_of in (losses, by_hand)
    )
    for p, q in zip(actual, expected_gradients, strict=True):
        assert torch.allclose(p, q, atol=1e-4)


def trained(scheme: Blockwise, *terms: str) -> set[str]:
    """Return the modules to which these terms have a gradient."""
    student = scheme.students()["student"].model
    ((_, losses),) = scheme.turns(BATCH, 0)
    sum(losses[name] for name in terms).backward()
    assert all(p.grad is None for p in scheme.teacher.parameters())
    return {name.partition(".")[0] for name, p in student.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("term", ["ce", "kd", "lit"])
def test_every_term_trains_every_block_and_nothing_around_them(term):
    assert trained(blockwise(), term) == {"layer1", "layer2", "layer3"}


@pytest.mark.parametrize("block", ["layer1", "layer2", "layer3"])
def test_what_is_compared_of_a_block_trains_that_block_alone(block, monkeypatch):
    scheme = blockwise()
    monkeypatch.setattr(
        scheme.players["student"], "compare", lambda student, teacher, batch: {"sum": student[block].sum()}
    )
    assert trained(scheme, "sum") == {block}


def test_what_is_around_the_blocks_is_the_teachers_and_stays_so():
    scheme = blockwise()
    student, teacher = scheme.students()["student"].model, scheme.teacher.feature_extractor.model
    before = {name: x.clone() for name, x in teacher.state_dict().items()}
    ((_, losses),) = scheme.turns(BATCH, 0)
    sum(losses.values()).backward()
    for name in ("conv1", "bn1", "fc"):
        module = student.get_submodule(name)
        assert not module.training
        assert all(not p.requires_grad for p in module.parameters())
        for key, parameter in module.state_dict(prefix=f"{name}.").items():
            assert torch.equal(parameter, before[key])
    assert student.layer1.training


def test_of_several_teachers_it_is_the_firsts():
    task, models = Classification(), [net("resnet14", seed) for seed in (2, 3)]
    fed = BlockwisePlayer(net("resnet8", 1), Terms.from_method(METHOD), task)
    Blockwise(fed, Ensemble([Frozen(model, task) for model in models])).wire(BATCH, 20)
    assert torch.equal(fed.student.model.fc.weight, models[0].fc.weight)


def test_a_student_may_have_its_own_around_the_blocks():
    scheme = blockwise(copy=False)
    assert trained(scheme, "ce") == {"conv1", "bn1", "layer1", "layer2", "layer3", "fc"}


class Listed(nn.Module):
    """Blocks in a module list, a stem outside it and a layer that ends no block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()) for _ in range(3))
        self.norm = nn.BatchNorm2d(2)
        self.fc = nn.Linear(2, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(self.norm(x).mean((2, 3)))


FLAT = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10))


@pytest.mark.parametrize(
    ("model", "blocks", "expected"),
    [
        ("resnet8", ["layer1", "layer2", "layer3"], {"conv1", "bn1", "fc"}),
        ("wrn_10_1", ["layer1", "layer2", "layer3"], {"conv1", "bn1", "fc"}),
        ("vgg8", ["layer1", "layer2", "layer3", "layer5"], {"classifier"}),
        ("cnn2", ["layer1", "layer2", "layer3"], {"fc"}),
        (Listed(), ["blocks.1", "blocks.2"], {"stem", "norm", "fc"}),
        (Listed(), ["blocks.1.1", "blocks.2"], {"stem", "norm", "fc"}),
        (FLAT, ["1", "3"], set()),
        (nn.Sequential(FLAT, nn.Linear(10, 4)), ["0.1", "0.3"], {"1"}),
    ],
)
def test_what_is_around_the_blocks_of_a_network(model, blocks, expected):
    model = net(model) if isinstance(model, str) else model
    assert set(modules_around(model, torch.zeros(2, 1, 8, 8), blocks)) == expected


def test_named_layers_are_the_blocks_whatever_their_order():
    lit = LIT | {"student": ["layer3", "layer1"], "teacher": ["layer3", "layer1"]}
    scheme = blockwise([{"name": "ce"}, lit])
    assert scheme.players["student"].block_inputs == {"layer1": "layer1"}


def test_a_teacher_with_another_stem_is_refused():
    teacher = net("resnet14", 2)
    teacher.conv1 = nn.Sequential(teacher.conv1)
    with pytest.raises(TutelageError, match=r"whose conv1.weight is missing; .*copy: false"):
        blockwise(teacher=teacher)


def test_what_was_replaced_is_the_networks_own_again():
    model, x = net("cnn2"), BATCH.inputs
    uninterrupted = model(x)
    with replaced_outputs(model, {"layer1": torch.zeros(6, 2, 8, 8)}):
        assert torch.equal(model(x), model(torch.zeros_like(x)))
    assert torch.equal(model(x), uninterrupted)


def test_writing_in_place_leaves_the_teachers_feature_as_it_is():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    feature = -torch.ones(2, 3)
    with replaced_outputs(model, {"0": feature}):
        assert torch.equal(model(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert torch.equal(feature, -torch.ones(2, 3))


# a run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tutelage.FinishedRun:
    return tutelage.distill(**TINY | {"epochs": 2}, method="lit", out=str(tmp_path_factory.mktemp("runs") / "lit"))


def test_one_word_is_a_run_that_ends_in_a_bare_student(run):
    assert tutelage.load(run.folder).state_dict().keys() == net("resnet8").state_dict().keys()
    assert serialization.read_card(run.folder).model == "resnet8"
    assert run.result["teacher"]["model"] == "resnet14"
    assert list(run.result["before"]) == ["blocks"]
    epochs = {p.parent.name: json.loads(p.read_text())["epochs"] for p in run.folder.glob("*/phase.json")}
    assert epochs == {"teacher": 1, "baseline-0": 2, "blocks-0": 1, "student-0": 1}
    assert "blocks (resnet8)" in run.report.read_text()


def test_a_crash_among_the_blocks_costs_no_bit(tmp_path: Path, monkeypatch):
    class Crash(Exception):
        pass

    def crash(self) -> None:
        self.count = getattr(self, "count", 0) + 1
        if self.count == 2:
            raise Crash

    keys = TINY | SMALL | {"method": "lit", "checkpoint_every": 0, "baseline": False, "teacher_epochs": 0}
    uninterrupted = tutelage.distill(**keys, out=str(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(Blockwise, "after_step", crash)
        with pytest.raises(Crash):
            tutelage.distill(**keys, out=str(tmp_path / "again"))
    again = tutelage.resume(tmp_path / "again")
    assert digest(tutelage.load(again.folder)) == digest(tutelage.load(uninterrupted.folder))


def test_only_the_digits_have_networks_of_their_own():
    assert (check({"method": "lit"}).teacher, check({"method": "lit"}).student) == ("resnet14", "resnet8")
    assert check({"method": "lit", "teacher": "resnet20"}).teacher == "resnet20"
    with pytest.raises(TutelageError, match="no student"):
        check({"method": "lit", "data": "folder:photos"})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"method": "lit", "teacher": "cnn4", "student": "cnn2"},
            r"layer1 outputs \(2, 8, 8\) and .*layer1 \(4, 8, 8\)",
        ),
        ({"method": "kd", "scheme": "blockwise", **SMALL}, "needs a term that compares layers"),
        ({"method": "lit", "compile": True, **SMALL}, "can't be compiled, recomputed or sharded"),
        ({"method": "lit", "recompute": True, **SMALL}, "remove compile, recompute and strategy"),
        (
            {"method": [LIT], "scheme": "blockwise", "teacher": "none", "student": "cnn2"},
            "LIT requires teacher outputs",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_there_is_a_folder(tmp_path: Path, keys, message):
    with pytest.raises(TutelageError, match=message):
        tutelage.distill(**TINY | keys, out=str(tmp_path / "r"))
    assert not (tmp_path / "r").exists()
