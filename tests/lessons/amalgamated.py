"""Several teachers whose features are made one, or whose answers are mixed by what the student's last map says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from saying import Says, of
from torch import Tensor, nn

from lessons.lesson import TASK, Lesson, player, seen, wired
from tutelage.losses.base import Loss
from tutelage.losses.multi_teacher.cfl import CFL
from tutelage.losses.multi_teacher.ka import KA
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.schemes.last_feature import LastFeature, LastFeaturePlayer
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.verify.vector import Vector


def of_features(vector: Vector, loss: Loss) -> tuple[Says, Any, Batch]:
    """A student that says the one feature, teachers that say theirs, and a loss of these, wired and built."""
    (student,), teachers = vector.side("student_features"), vector.side("teacher_features")
    silent = student.new_zeros(len(student), 2)
    model = Says(silent, student)
    theirs = [f"{m}.layer1" for m in range(len(teachers))]
    term = Term(loss, 1.0, student=["layer1"] * len(teachers), teacher=theirs)
    told = Ensemble([Frozen(Says(silent, x), TASK) for x in teachers])
    batch = seen(vector, 0, len(student), torch.zeros(len(student), dtype=torch.long))
    return model, wired(Offline(Player(model, Terms.from_method(term), TASK), told), batch), batch


def ka(vector: Vector) -> Lesson:
    loss = KA()
    model, scheme, batch = of_features(vector, loss)
    parts = {"enc": loss.encoders[0], "fam": loss.aligners[0], "dec": loss.decoders[0]}
    arrive: dict[str, Callable[[], Any]] = {"student_features.0": of(model, "layer1")}
    for name, part in parts.items():
        part.load_state_dict(vector.under(f"parameters.{name}"))
        arrive |= {f"parameters.{name}.{n}": lambda p=p: p.grad for n, p in part.named_parameters()}
    return Lesson([(scheme, batch)], arrive)


class Moved(nn.Module):
    """What comes, moved by 0 that learns: its gradient is that of what goes on."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.zeros_like(like))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


class Given(nn.Module):
    """The same, whatever comes."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given = given

    def forward(self, x: Tensor) -> Tensor:
        return self.given


def cfl_mmd(vector: Vector) -> Lesson:
    """The features are in the common space already, and come back from it without a loss."""
    loss = CFL(sigmas=tuple(vector.hyper["sigmas"]))
    model, scheme, batch = of_features(vector, loss)
    (feature,) = vector.side("teacher_features")
    moved = Moved(feature)
    loss.adapt = loss.common = nn.Identity()
    loss.adapts, loss.returns = nn.ModuleList([moved]), nn.ModuleList([Given(feature)])
    arrive = {"student_features.0": of(model, "layer1"), "teacher_features.0": lambda: moved.by.grad}
    return Lesson([(scheme, batch)], arrive)


def amtml(vector: Vector) -> Lesson:
    model = Says(vector.inputs["student_logits"], *vector.side("student_features"))
    alpha, temperature = vector.hyper["alpha"], vector.hyper["temperature"]
    mixed = {"name": "amtml", "temperature": temperature, "weight": 2 * alpha}
    taught = player(LastFeaturePlayer, model, {"name": "ce", "weight": 1 - alpha}, mixed)
    teacher = Ensemble([Frozen(Says(z), TASK) for z in vector.inputs["teacher_logits"]])
    batch = seen(vector, 0, len(vector.inputs["target"]))
    scheme = wired(LastFeature(taught, teacher), batch)
    loss = taught.terms["amtml"].loss
    with torch.no_grad():
        loss.theta.copy_(vector.inputs["parameters.theta"])
        loss.v.copy_(vector.inputs["parameters.W"])
    arrive = {
        "student_logits": of(model),
        "student_features.0": of(model, "layer1"),
        "parameters.theta": lambda: loss.theta.grad,
        "parameters.W": lambda: loss.v.grad,
    }
    return Lesson([(scheme, batch)], arrive)


LESSONS: dict[str, Callable[[Vector], Lesson]] = {"amtml": amtml, "cfl_mmd": cfl_mmd, "ka": ka}
