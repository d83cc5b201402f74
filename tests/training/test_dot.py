"""A momentum for the teacher's terms and one for the ground truth's."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from runs.test_resume import mutual
from small import Plain, digest, digits, fit, net, offline, settings
from torch import nn
from torch.optim import SGD, Optimizer

import tutelage
from tutelage.config.schema import check, read
from tutelage.errors import ConfigError
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.response.kd import KD
from tutelage.runs.inputs import Provided
from tutelage.runs.run import Run
from tutelage.settings import TrainerSettings
from tutelage.tasks.classification import Classification
from tutelage.training.dot import DOT
from tutelage.training.optimizers import SeparatesTeacherGradients, create_optimiser, distillation_terms
from tutelage.training.trainer import Trainer

MU, GAP, DECAY, LR = 0.9, 0.075, 5e-4, 0.05


def plain(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Plain()


def test_steps_are_those_of_two_momenta_written_by_hand():
    """Through the whole trainer: three steps of KD beside CE, against two plain SGDs whose steps add up."""
    data = digits(64)
    teacher, student = plain(1), plain(2)
    again = plain(2)
    changes: dict[str, Any] = {"schedule": "constant", "dot": GAP, "batch_size": 20, "epochs": 2}
    taught = fit(offline(data, KD(), student, teacher), data, **changes)
    knowing = SGD(again.parameters(), lr=LR, momentum=MU + GAP)
    seeing = SGD(again.parameters(), lr=LR, momentum=MU - GAP, weight_decay=DECAY)
    parameters = list(again.parameters())
    for epoch in range(2):
        for batch in data.batches("train", 20, epoch=epoch):
            said, told = again(batch.inputs), teacher(batch.inputs)
            kd = 16 * F.kl_div(F.log_softmax(said / 4, 1), F.softmax(told / 4, 1), reduction="batchmean")
            of_kd = torch.autograd.grad(0.9 * kd, parameters, retain_graph=True)
            of_ce = torch.autograd.grad(0.1 * F.cross_entropy(said, batch.targets), parameters)
            for sgd, gradients in ((seeing, of_ce), (knowing, of_kd)):
                for p, gradient in zip(parameters, gradients, strict=True):
                    p.grad = gradient
                sgd.step()
    for ours, theirs in zip(taught.parameters(), parameters, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_what_one_side_alone_reaches_has_the_momentum_between():
    p, q = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    one, other = p.detach().clone().requires_grad_(), q.detach().clone().requires_grad_()
    dot, sgd = DOT([p, q], LR, MU, GAP, DECAY), SGD([one, other], lr=LR, momentum=MU, weight_decay=DECAY)
    for step in range(3):
        p.grad, q.grad = torch.full((3,), step + 1.0), None
        dot.stash_teacher_gradients()
        q.grad = torch.full((3,), step - 2.0)
        dot.step()
        one.grad, other.grad = torch.full((3,), step + 1.0), torch.full((3,), step - 2.0)
        sgd.step()
        assert torch.allclose(p, one)
        assert torch.allclose(q, other)


def test_a_network_that_nobody_teaches_is_trained_by_plain_sgd():
    data = digits(64)
    changes: dict[str, Any] = {"schedule": "constant", "dot": GAP, "batch_size": 20}
    scheme = offline(data, "ce", plain(2), truth=False)
    alone, again = fit(scheme, data, **changes), plain(2)
    sgd = SGD(again.parameters(), lr=LR, momentum=MU, weight_decay=DECAY)
    for batch in data.batches("train", 20):
        sgd.zero_grad()
        F.cross_entropy(again(batch.inputs), batch.targets).backward()
        sgd.step()
    for ours, theirs in zip(alone.parameters(), again.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_terms_of_the_teacher_are_told_apart():
    data = digits(64)
    assert distillation_terms(offline(data, KD() + FitNet()).terms()) == {"student/kd", "student/fitnet"}
    assert distillation_terms(offline(data, "ce").terms()) == set()


def test_without_a_gap_nothing_changes():
    data = digits(64)
    assert isinstance(create_optimiser(net(), settings()), SGD)
    assert digest(fit(offline(data), data, dot=0.0)) == digest(fit(offline(data), data))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optimizer": "adamw"}, "doesn't go with optimizer=adamw"),
        ({"precision": "16", "accumulate": 2}, "doesn't go with accumulate, precision=16"),
        ({"momentum": 0.95}, r"momentum=0.95 ± 0.075 must lie in 0 … 1"),
        ({"momentum": 0.05}, "must lie in 0"),
    ],
)
def test_what_does_not_go_with_it_is_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        check({"dot": GAP} | keys)


class Weighing(SGD):
    """An optimiser of one's own: SGD along the task loss's gradient plus a share of the distillation terms'."""

    def __init__(self, module: nn.Module, share: float) -> None:
        super().__init__(module.parameters(), lr=LR)
        self.share, self.stashed, self.stashes = share, {}, 0

    def stash_teacher_gradients(self) -> None:
        self.stashed = {p: p.grad for group in self.param_groups for p in group["params"] if p.grad is not None}
        self.stashes += 1
        self.zero_grad()

    def step(self, closure=None):
        for p, gradient in self.stashed.items():
            p.grad = self.share * gradient if p.grad is None else p.grad + self.share * gradient
        return super().step(closure)


def trained(scheme, make_optimiser, **changes) -> dict[str, nn.Module]:
    torch.manual_seed(3)
    return Trainer(settings(**changes), Classification(), make_optimiser=make_optimiser).fit(scheme, digits(64))


def are_close(ours: nn.Module, theirs: nn.Module) -> bool:
    return all(torch.allclose(p, q, atol=1e-6) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_an_optimiser_of_ones_own_gets_the_gradients_apart(share):
    data, made = digits(64), []

    def make_optimiser(module: nn.Module, settings: TrainerSettings) -> Optimizer:
        made.append(Weighing(module, share))
        return made[-1]

    ours = trained(offline(data, KD(), plain(2), plain(1)), make_optimiser, schedule="constant")["student"]
    teacher, student = plain(1), plain(2)
    for batch in data.batches("train", 16):
        outputs, soft_targets = student(batch.inputs), teacher(batch.inputs).detach()
        loss = 0.1 * F.cross_entropy(outputs, batch.targets) + share * 0.9 * KD()(outputs, soft_targets).mean()
        gradients = torch.autograd.grad(loss, list(student.parameters()))
        with torch.no_grad():
            for p, gradient in zip(student.parameters(), gradients, strict=True):
                p -= LR * gradient
    assert isinstance(made[0], SeparatesTeacherGradients)
    assert made[0].stashes == 4
    assert are_close(ours, student)


def test_peers_may_differ_in_whether_they_separate():
    """One turn trains both: the one whose optimiser separates, and the one whose doesn't."""
    made = []

    def mixed(module: nn.Module, settings: TrainerSettings) -> Optimizer:
        made.append(Weighing(module, 1.0) if not made else SGD(module.parameters(), lr=LR))
        return made[-1]

    ours = trained(mutual(digits(64)), mixed)
    usual = trained(mutual(digits(64)), lambda module, settings: SGD(module.parameters(), lr=LR))
    assert made[0].stashes == 4
    assert [are_close(ours[name], usual[name]) for name in usual] == [True, True]


def test_a_turn_without_a_teacher_is_stashed_nowhere():
    made = []
    scheme = offline(digits(64), "ce", plain(2), truth=False)
    trained(scheme, lambda module, settings: made.append(Weighing(module, 1.0)) or made[0])
    assert made[0].stashes == 0


def test_what_does_not_go_with_separating_is_refused_for_any_optimiser():
    with pytest.raises(ConfigError, match="Weighing separates two gradients, which doesn't go with accumulate"):
        trained(offline(digits(64)), lambda module, settings: Weighing(module, 1.0), accumulate=2)


def test_one_word_is_a_run(tmp_path):
    made = tutelage.distill(method="dot", epochs=2, teacher_epochs=2, limit=100, device="cpu", out=str(tmp_path / "r"))
    told = json.loads((made.folder / "student-0" / "phase.json").read_text())
    assert [term["name"] for term in told["terms"]] == ["ce", "kd"]
    assert type(tutelage.load(made.folder)).__name__ == "CNN"
    again = Run(read(made.folder / "config.yaml"), Provided(), made.folder)
    assert {p.name: again.plan.settings(p).dot for p in again.phases()} == {
        "teacher": 0,
        "baseline-0": 0,
        "student-0": GAP,
    }
