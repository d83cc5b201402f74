"""A teacher that is trained with branches of its student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import Plain, net
from torch import nn

import tutelage
from tutelage.config.schema import read
from tutelage.errors import TutelageError
from tutelage.models import serialization
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.runs.inputs import Provided
from tutelage.runs.run import Run
from tutelage.schemes.student_friendly import BranchedPlayer, StudentFriendly
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification

TINY: dict[str, Any] = {"epochs": 1, "teacher_epochs": 1, "limit": 60, "batch_size": 20, "device": "cpu"}
BATCH = Batch(torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(6), torch.arange(6))


def friendly(teacher="cnn8", student="cnn2", temperature=2.0) -> StudentFriendly:
    seeds = iter(range(1, 9))
    terms = Terms.from_method([Term(Classification().task_loss(), 1.0), Term(tutelage.KD(temperature), 3.0)])
    scheme = StudentFriendly(
        BranchedPlayer(net(teacher), terms, Classification(), lambda: net(student, next(seeds)), 0.5)
    )
    scheme.wire(BATCH, 20)
    return scheme.train()


def test_a_step_is_the_papers_by_hand():
    scheme = friendly()
    player = scheme.players["student"]
    assert player.ends == ["layer1", "layer2"]
    assert [branch[0].conv.weight.shape[:2] for branch in player.branches] == [(2, 8), (4, 16)]
    ((_, losses),) = scheme.turns(BATCH, 0)
    model, y = player.student.model, BATCH.targets
    first = model.layer1(BATCH.inputs)
    second = model.layer2(first)
    z = model.fc(model.layer3(second).mean((2, 3)))
    (connector1, a), (connector2, b) = ((branch[0], branch[1].model) for branch in player.branches)
    branches = [
        a.fc(a.layer3(a.layer2(connector1(first))).mean((2, 3))),
        b.fc(b.layer3(connector2(second)).mean((2, 3))),
    ]
    kl = [4 * F.kl_div(F.log_softmax(z / 2, 1), F.softmax(zk / 2, 1), reduction="batchmean") for zk in branches]
    by_hand = {
        "ce": F.cross_entropy(z, y),
        "kd": 3 * sum(kl) / 2,
        "branches": 0.5 * sum(F.cross_entropy(zk, y) for zk in branches) / 2,
    }
    trained = [*model.parameters(), *connector1.parameters(), *a.layer2.parameters(), *b.fc.parameters()]
    for name, value in by_hand.items():
        assert torch.allclose(losses[name], value, rtol=1e-5)
    actual, expected = (torch.autograd.grad(sum(losses_of.values()), trained) for losses_of in (losses, by_hand))
    for p, q in zip(actual, expected, strict=True):
        assert torch.allclose(p, q, atol=1e-5)


def test_each_network_runs_once_and_what_is_before_a_graft_learns_nothing():
    scheme = friendly()
    player = scheme.players["student"]
    ran: list[str] = []
    for name, network in (
        ("teacher", player.student.model),
        *((str(k), b[1].model) for k, b in enumerate(player.branches)),
    ):
        for layer in ("layer1", "layer2", "layer3"):
            getattr(network, layer)[0].register_forward_hook(lambda *_, call=f"{name} {layer}": ran.append(call))
    ((_, losses),) = scheme.turns(BATCH, 0)
    assert ran == ["teacher layer1", "teacher layer2", "teacher layer3", "0 layer2", "0 layer3", "1 layer3"]
    sum(losses.values()).backward()
    for branch, before in zip(player.branches, (["layer1"], ["layer1", "layer2"]), strict=True):
        untrained = {name.partition(".")[0] for name, p in branch[1].model.named_parameters() if p.grad is None}
        assert untrained == set(before)
    assert all(p.grad is not None for p in player.student.parameters())


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tutelage.FinishedRun:
    return tutelage.distill(**TINY, method="sftn", out=str(tmp_path_factory.mktemp("runs") / "sftn"))


def test_one_word_trains_the_teacher_with_branches_and_leaves_bare_networks(run):
    again = Run(read(run.folder / "config.yaml"), Provided(), run.folder)
    phases = {phase.name: again.scheme(phase)[0] for phase in again.phases()}
    assert {name: type(scheme).__name__ for name, scheme in phases.items()} == {
        "teacher": "StudentFriendly", "baseline-0": "Offline", "student-0": "Offline",
    }  # fmt: skip
    for file, name in (("teacher/model", "cnn32"), ("student", "cnn2")):
        network = serialization.load(run.folder / f"{file}.safetensors")
        assert network.card.model == name
        assert network.state_dict().keys() == net(name).state_dict().keys()
    assert '"branches"' in (run.folder / "teacher" / "metrics.jsonl").read_text()
    assert run.result["teacher"]["model"] == "cnn32"


def test_objects_teach_and_are_taught(tmp_path: Path):
    run = tutelage.distill(Plain(), Plain(width=8), **TINY, method="sftn", out=str(tmp_path / "r"))
    assert run.result["teacher"]["parameters"] == sum(p.numel() for p in Plain(width=8).parameters())


def test_a_crash_in_the_teachers_training_costs_no_bit(tmp_path: Path, run, monkeypatch):
    class Crash(Exception):
        pass

    def crash(self) -> None:
        self.count = getattr(self, "count", 0) + 1
        if self.count == 2:
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(StudentFriendly, "after_step", crash)
        with pytest.raises(Crash):
            tutelage.distill(**TINY, method="sftn", checkpoint_every=0, out=str(tmp_path / "again"))
    again = tutelage.resume(tmp_path / "again")
    for file in ("teacher/model.safetensors", "student.safetensors"):
        assert (again.folder / file).read_bytes() == (run.folder / file).read_bytes()


def test_several_teachers_are_each_friendly_and_a_scheme_of_its_own_names_its_student(tmp_path: Path):
    run = tutelage.distill(
        **TINY, teacher=["cnn4", "cnn8"], method="kd", teacher_scheme="student_friendly", out=str(tmp_path / "a")
    )
    for name in ("teacher0", "teacher1"):
        assert '"branches"' in (run.folder / name / "metrics.jsonl").read_text()
    scheme = {"name": "student_friendly", "student": "cnn4", "temperature": 4.0}
    keys = {key: x for key, x in TINY.items() if key != "teacher_epochs"}
    alone = tutelage.train("cnn8", scheme=scheme, baseline=False, **keys, out=str(tmp_path / "b"))
    assert tutelage.load(alone.folder).card.model == "cnn8"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"teacher_epochs": 0},
            "teacher_scheme=student_friendly is for a teacher that is trained in this run, and none is",
        ),
        ({"teacher": "none", "method": "ce"}, "teacher_scheme=student_friendly: there is no teacher"),
        ({"teacher_scheme": "friendly"}, "unknown scheme 'friendly'"),
        ({"teacher_scheme": {"name": "student_friendly", "agree": 1}}, "did you mean 'agreement'"),
        ({"teacher_scheme": {"name": "student_friendly", "agreement": -1}}, "agreement=-1"),
        ({"teacher_scheme": {"name": "student_friendly", "temperature": 0}}, "temperature=0"),
        ({"teacher_scheme": {"name": "student_friendly", "student": "cnm4"}}, "unknown model 'cnm4'"),
        (
            {"teacher": "timm:vit_tiny_patch16_224", "size": 32, "pretrained": False},
            r"\(2, 5, 192\).*expected two maps",
        ),
        ({"teacher": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}, "the teacher has no stage"),
    ],
)
def test_what_cannot_be_grafted_is_refused_before_there_is_a_folder(tmp_path: Path, keys, message):
    with pytest.raises(TutelageError, match=message):
        tutelage.distill(**TINY | {"teacher_scheme": "student_friendly"} | keys, out=str(tmp_path / "r"))
    assert not (tmp_path / "r").exists()
