"""Each finding can fire and can stay silent."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from small import Plain, digits, net, task_of
from torch import nn

from tutelage.config.schema import Config, check
from tutelage.data.splits import InMemorySplit
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ModelError
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.regression.output_l1 import OutputL1
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.runs import preflight
from tutelage.schemes.offline import Offline
from tutelage.settings import TrainerSettings
from tutelage.tasks import class_checks
from tutelage.tasks.classification import Classification
from tutelage.tasks.regression import Regression
from tutelage.teachers.frozen import Frozen


def levels(findings) -> list[str]:
    return [finding.level for finding in findings]


def teacher(model: nn.Module | None = None) -> Frozen:
    return Frozen(net("cnn2") if model is None else model, Classification())


@pytest.mark.parametrize(
    ("settings", "expected", "words"),
    [
        (TrainerSettings(), ["ok"], "lr=0.05"),
        (TrainerSettings(lr=3), ["warning"], "lr=3 is unusual for sgd"),
        (TrainerSettings(lr=0.05, optimizer="adamw"), ["warning"], "unusual for adamw"),
        (TrainerSettings(epochs=2), ["warning"], "hardly"),
    ],
)
def test_settings(settings, expected, words):
    found = preflight.settings(settings, net())
    assert levels(found) == expected
    assert words in found[0].what


def test_batches():
    data = digits(32)
    assert levels(preflight.check_batches(data, 16)) == ["ok"]
    assert levels(preflight.check_batches(data, 33)) == ["warning"]


def test_methods_without_labels_and_losses_that_did_harm():
    def found(method, task=None):
        return preflight.check_terms(Terms.from_method(method, CE()), task or Classification())

    assert found(KD()) == []
    assert levels(found(Term(KD(), task_loss_weight=0.0))) == ["warning"]
    (finding,) = found(OutputL1())
    assert "OutputL1 made students worse than alone on digits, Fashion-MNIST and CIFAR-100, of four" in finding.what
    assert found(OutputL1(), Regression(ValueTargets(("price",), (0.0,), (1.0,)))) == []


def test_classes():
    data = digits(32)
    assert levels(class_checks.check_classes(data)) == ["ok"]
    few = data.train.take((data.train.labels != 3).nonzero()[:, 0])
    (finding,) = class_checks.check_classes(replace(data, train=few))
    assert (finding.level, finding.what) == ("warning", "no training samples of 3")


@pytest.mark.parametrize(
    ("accuracy", "shares", "expected"),
    [
        (0.9, [0.1] * 10, "ok"),
        (0.12, [0.1] * 10, "error"),
        (0.16, [0.1] * 10, "ok"),
        (0.55, [0.5, 0.5], "error"),
        (0.8, [0.5, 0.5], "ok"),
        (0.8, [0.9, 0.1], "warning"),
    ],
)
def test_skill(accuracy, shares, expected):
    assert levels(class_checks.judge_accuracy(accuracy, torch.tensor(shares))) == [expected]


def test_normalisation():
    same = teacher()
    converted = Frozen(net("cnn2"), Classification(), [2.0], [0.1])
    assert preflight.check_normalisation(same, True)[0].what.endswith("the same normalisation")
    assert preflight.check_normalisation(converted, True)[0].what.endswith("converted")
    assert levels(preflight.check_normalisation(same, False)) == ["warning"]


def test_answers():
    assert levels(preflight.check_outputs(torch.randn(4, 3))) == ["ok"]
    assert levels(preflight.check_outputs(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]))) == ["error"]
    assert levels(preflight.check_outputs(torch.ones(4, 3))) == ["error"]
    assert "25%" in preflight.check_outputs(torch.tensor([[1.0, float("inf")], [0.0, 1.0]]))[0].what


def test_stillness():
    still = teacher()
    assert levels(preflight.check_frozen(still)) == ["ok"]
    next(still.parameters()).requires_grad_(True)
    next(m for m in still.modules() if isinstance(m, nn.BatchNorm2d)).training = True
    assert levels(preflight.check_frozen(still)) == ["error", "error"]


def test_pulls():
    assert levels(preflight.check_gradient_norms({"ce": 1.0, "kd": 50.0})) == ["ok"]
    (finding,) = preflight.check_gradient_norms({"ce": 1.0, "kd": 500.0})
    assert finding.level == "warning"
    assert "the gradient norm of term kd is 500 times that of ce" in finding.what
    assert "has no effect" in preflight.check_gradient_norms({"ce": 1.0, "kd": 0.0})[0].what
    for norm in (math.nan, math.inf):
        findings = preflight.check_gradient_norms({"ce": 1.0, "kd": norm})
        assert levels(findings) == ["error"]
        assert f"term kd has a gradient of norm {norm}" in findings[0].what


def played(terms: Terms) -> Offline:
    data = digits(16)
    scheme = Offline(Player(Plain(), terms, task_of(data)), teacher(Plain(width=6)))
    batch = next(iter(data.batches("train", 8)))
    scheme.wire(batch, len(data.train))
    for _, losses in scheme.turns(batch, 0):
        torch.stack(list(losses.values())).sum().backward()
    return scheme


def test_gradients():
    assert levels(preflight.check_gradients(played(Terms.from_method(KD())))) == ["ok"]
    (finding,) = preflight.check_gradients(played(Terms.from_method(FitNet())))
    assert finding.level == "warning"
    assert "fc.weight" in finding.what


def test_a_connector_without_gradient():
    scheme = played(Terms.from_method([FitNet(), KD()]))
    for parameter in scheme.players["student"].terms["fitnet"].connectors.parameters():
        parameter.grad = None
    (finding,) = preflight.check_gradients(scheme)
    assert finding.level == "error"
    assert "terms.fitnet.connectors.0.conv.weight" in finding.what


def test_refusal_has_a_finding_a_line():
    assert levels(preflight.refusal_findings(ModelError("one\ntwo"))) == ["error", "error"]


def quick(**keys) -> Config:
    return check({"teacher": "cnn2", "student": "cnn2", "limit": 64, "epochs": 5, "device": "cpu"} | keys)


def test_check_measures_one_step():
    trial = preflight.check(quick(method="kd+fitnet"))
    assert set(trial.values) == set(trial.norms) == set(trial.terms) == {"ce", "kd", "fitnet"}
    assert all(norm > 0 for norm in trial.norms.values())
    assert 0 < trial.teaching < trial.step
    assert trial.macs == {"student": 3536, "teacher": 3536}
    assert trial.seconds > 0
    assert trial.memory > 50
    assert "error" not in levels(trial.findings)


def test_check_of_a_module_that_runs_twice(tmp_path, monkeypatch):
    (tmp_path / "twice.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, classes, channels):\n"
        "        super().__init__()\n"
        "        self.a, self.act = nn.Conv2d(channels, 4, 3), nn.ReLU()\n"
        "        self.b, self.fc = nn.Conv2d(4, 4, 3), nn.Linear(4, classes)\n"
        "    def forward(self, x):\n"
        "        return self.fc(self.act(self.b(self.act(self.a(x)))).mean((2, 3)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    trial = preflight.check(
        quick(student="python:twice:Net", method=[{"name": "at", "student": "act", "teacher": "layer1"}])
    )
    assert any(f.level == "error" and "'act' ran twice" in f.what for f in trial.findings)


def test_a_constant_teacher_is_found_before_its_accuracy():
    dead = teacher()
    with torch.no_grad():
        for parameter in dead.parameters():
            parameter.zero_()
    batch = next(iter(digits(16).batches("train", 8)))
    assert levels(preflight.check_outputs(dead(batch).response)) == ["error"]


def test_classes_of_samples_without_labels_are_not_judged():
    data = digits(16)
    unknown = InMemorySplit(data.train.inputs, data.train.targets)
    unknown.labels = None
    assert class_checks.check_classes(replace(data, train=unknown)) == []


def test_check_evaluates_as_the_run_will(monkeypatch):
    assert any("can be evaluated" in f.what for f in preflight.check(quick()).findings)

    def broken(*args):
        raise ModelError("no figures")

    monkeypatch.setattr(preflight, "evaluate", broken)
    assert any((f.level, f.what) == ("error", "no figures") for f in preflight.check(quick()).findings)
