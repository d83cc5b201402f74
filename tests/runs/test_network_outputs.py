"""Whatever a network returns, its response is taken from it in one way, wherever networks are called."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from small import Plain, digits, fit, task_of
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput

import tutelage
from tutelage.data.data_module import DataModule
from tutelage.errors import ModelError
from tutelage.losses.response.kd import KD
from tutelage.nn.feature_extractor import run_once
from tutelage.nn.model_profile import profile_model
from tutelage.nn.shared_trunk import Branches
from tutelage.nn.tail import Tail
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.runs.phase import evaluate_split as figures
from tutelage.runs.profiling import macs
from tutelage.schemes.mutual import Mutual
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, response_of
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.moving_average import MovingAverage
from tutelage.training.evaluation import evaluate


@dataclass
class Said:
    logits: Tensor
    loss: Tensor


class Answer(NamedTuple):
    aux: Tensor
    logits: Tensor


KINDS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tensor": lambda x, feature: x,
    "tuple": lambda x, feature: (x, feature),
    "list": lambda x, feature: [x, [feature]],
    "loss first": lambda x, feature: (x.mean(), x),
    "nested tuple": lambda x, feature: ((x, None), feature),
    "named tuple": lambda x, feature: Answer(feature, x),
    "dataclass": lambda x, feature: Said(x, x.mean()),
    "mapping": lambda x, feature: {"features": feature, "logits": x},
    "torchvision": lambda x, feature: OrderedDict(out=x, aux=feature),
    "nested mapping": lambda x, feature: {"loss": x.mean(), "output": {"logits": (x, feature)}},
    "hugging face": lambda x, feature: ImageClassifierOutput(loss=x.mean(), logits=x, hidden_states=(feature,)),
    "outputs": lambda x, feature: tutelage.Outputs(x, {"middle": feature}),
}
"""What networks return, made of their logits and a feature."""


class Saying(nn.Module):
    """A small network that returns one of these."""

    def __init__(self, kind: str, classes: int = 10) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.net, self.kind = Plain(classes), kind

    def forward(self, x: Tensor) -> Any:
        middle = self.net.layer2(self.net.layer1(x))
        return KINDS[self.kind](self.net.fc(middle.mean((2, 3))), middle)


def example(data: DataModule) -> Batch:
    return next(iter(data.batches("train", 8)))


def player(model: nn.Module, data: DataModule) -> Player:
    task = task_of(data)
    return Player(model, Terms.from_method(KD(), task.task_loss()), task)


def trained(model: nn.Module, data: DataModule) -> Any:
    task = task_of(data)
    scheme = Offline(player(model, data), Frozen(Saying(model.kind), task))
    return next(iter(fit(scheme, data, ema=0.9, keep="best").parameters())).sum()


def followed(model: nn.Module, data: DataModule) -> Any:
    scheme = Offline(player(model, data), MovingAverage(model, task_of(data)))
    return next(iter(fit(scheme, data).parameters())).sum()


def mutual(model: nn.Module, data: DataModule) -> Any:
    peers = {"a": player(model, data), "b": player(Plain(), data)}
    return next(iter(fit(Mutual(peers), data).parameters())).sum()


PLACES: dict[str, Callable[[nn.Module, DataModule], Any]] = {
    "evaluation": lambda m, data: evaluate(m, data.batches("val", 32, train=False), task_of(data), 10).values["loss"],
    "figures of a split": lambda m, data: figures(m, data, task_of(data), "val", 16).values["loss"],
    "evaluate()": lambda m, data: tutelage.evaluate(m, data).values["loss"],
    "a look": lambda m, data: profile_model(m, example(data)).response,
    "what is captured": lambda m, data: run_once(m, example(data).inputs, ["net.layer1"]).response,
    "cost": macs,
    "a teacher": lambda m, data: Frozen(m, task_of(data))(example(data)).response,
    "a folded teacher": lambda m, data: Frozen(m, task_of(data), folded=True)(example(data)).response,
    "several teachers": lambda m, data: Ensemble([Frozen(m, task_of(data))] * 2)(example(data)).response,
    "branches": lambda m, data: Branches({"a": m, "b": Saying(m.kind)})(example(data).inputs)[1].response,
    "from a layer on": lambda m, data: Tail(m, "net.layer1", example(data).inputs)(torch.ones(2, 4, 8, 8)),
    "training": trained,
    "a moving average": followed,
    "peers": mutual,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_answer_in_each_place(kind, place):
    data = digits(32)
    found, plain = (PLACES[place](Saying(name), data) for name in (kind, "tensor"))
    assert torch.equal(torch.as_tensor(found), torch.as_tensor(plain))


@pytest.mark.parametrize("kind", ["nested mapping", "hugging face"])
@pytest.mark.parametrize("scheme", ["offline", "exits", "mutual"])
def test_a_whole_run_of_students_and_teachers_that_return_more(tmp_path, kind, scheme):
    keys = {"limit": 64, "epochs": 1, "device": "cpu", "out": str(tmp_path / "run"), "scheme": scheme}
    taught = {"teacher": Saying(kind), "cache": str(tmp_path / "cache")} if scheme == "offline" else {"teacher": "none"}
    done = tutelage.distill(Saying(kind), method="kd" if scheme == "offline" else "dml", **taught, **keys)
    assert tutelage.evaluate(done.student, done.student_module and digits(64)).values["accuracy"] >= 0


WRONG = {
    "nothing": lambda x, feature: None,
    "a number": lambda x, feature: x.mean(),
    "integers": lambda x, feature: x.argmax(1),
    "boxes": lambda x, feature: [{"boxes": feature, "scores": x}],
    "other names": lambda x, feature: {"pred": x, "loss": x.mean()},
    "text": lambda x, feature: "cat",
}


@pytest.mark.parametrize("role", ["student", "teacher", "trained teacher"])
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_response_is_refused_before_anything_is_trained(tmp_path, monkeypatch, kind, role):
    monkeypatch.setitem(KINDS, kind, WRONG[kind])
    given = {"student": Plain(), "teacher": Plain(), role.split()[-1]: Saying(kind)}
    keys = {"limit": 64, "epochs": 1, "teacher_epochs": 1 if role == "trained teacher" else 0}
    with pytest.raises(ModelError, match=r"returned (a|None).*which holds no response"):
        tutelage.distill(**given, out=str(tmp_path / "run"), **keys)
    assert not (tmp_path / "run").exists()


def test_inputs_by_name_are_taken_as_such():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Plain()

        def forward(self, pixel_values, age):
            return ImageClassifierOutput(logits=self.net(pixel_values) + age)

    data = digits(32)
    batches = [
        Batch({"pixel_values": b.inputs, "age": torch.ones(len(b), 1)}, b.targets, b.index)
        for b in data.batches("val", 16, train=False)
    ]
    model = Named()
    assert evaluate(model, batches, task_of(data), 10).values["loss"] > 0
    teacher, taught = Frozen(model, task_of(data)), player(Named(), data)
    taught.wire(teacher.profile(batches[0]), batches[0], 32)
    assert set(taught(batches[0], teacher(batches[0]))) == {"ce", "kd"}


def test_the_first_that_can_be_a_response_is_it():
    x = torch.ones(2, 3)
    assert response_of((torch.arange(2), x)) is x
    with pytest.raises(ModelError, match="returned a dict of 'pred', 'loss'"):
        response_of({"pred": x, "loss": x.mean()})
