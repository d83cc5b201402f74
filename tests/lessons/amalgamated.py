"""Several teachers whose features are amalgamated, or whose logits are weighted by the student's last map."""

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
    """Return a student that outputs one feature, with teachers that output theirs and a loss of these, wired."""
    (student,), teachers = vector.side("student_features"), vector.side("teacher_features")
    no_logits = student.new_zeros(len(student), 2)
    model = Says(no_logits, student)
    layers = [f"{m}.layer1" for m in range(len(teachers))]
    term = Term(loss, 1.0, student=["layer1"] * len(teachers), teacher=layers)
    ensemble = Ensemble([Frozen(Says(no_logits, x), TASK) for x in teachers])
    batch = seen(vector, 0, len(student), torch.zeros(len(student), dtype=torch.long))
    return model, wired(Offline(Player(model, Terms.from_method(term), TASK), ensemble), batch), batch


def ka(vector: Vector) -> Lesson:
    loss = KA()
    model, scheme, batch = of_features(vector, loss)
    parts = {"enc": loss.encoders[0], "fam": loss.aligners[0], "dec": loss.decoders[0]}
    arrive: dict[str, Callable[[], Any]] = {"student_features.0": of(model, "layer1")}
    for name, part in parts.items():
        part.load_state_dict(vector.under(f"parameters.{name}"))
        arrive |= {f"parameters.{name}.{n}": lambda p=p: p.grad for n, p in part.named_parameters()}
    return Lesson([(scheme, batch)], arrive)


class Shifted(nn.Module):
    """Adds a learned 0 to its input, whose gradient is the gradient of the output."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.zeros_like(like))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


class Constant(nn.Module):
    """Returns a constant, whatever its input."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return self.value


def cfl_mmd(vector: Vector) -> Lesson:
    """The features are in the common space already, and are reconstructed without a loss."""
    loss = CFL(sigmas=tuple(vector.hyper["sigmas"]))
    model, scheme, batch = of_features(vector, loss)
    (feature,) = vector.side("teacher_features")
    moved = Shifted(feature)
    loss.adapt = loss.common = nn.Identity()
    loss.adapts, loss.returns = nn.ModuleList([moved]), nn.ModuleList([Constant(feature)])
    arrive = {"student_features.0": of(model, "layer1"), "teacher_features.0": lambda: moved.by.grad}
    return Lesson([(scheme, batch)], arrive)


def amtml(vector: Vector) -> Lesson:
    model = Says(vector.inputs["student_logits"], *vector.side("student_features"))
    alpha, temperature = vector.hyper["alpha"], vector.hyper["temperature"]
    mixed = {"name": "amtml", "temperature": temperature, "weight": 2 * alpha}
    student = player(LastFeaturePlayer, model, {"name": "ce", "weight": 1 - alpha}, mixed)
    teacher = Ensemble([Frozen(Says(z), TASK) for z in vector.inputs["teacher_logits"]])
    batch = seen(vector, 0, len(vector.inputs["target"]))
    scheme = wired(LastFeature(student, teacher), batch)
    loss = student.terms["amtml"].loss
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
