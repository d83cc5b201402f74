"""Ensembles of teachers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from saying import Reads, Says, chosen, of, picking
from torch import Tensor, nn

from lessons.lesson import TASK, Lesson, offline, seen, wired
from tutelage.losses.multi_teacher.camkd import CAMKDFeature
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.verify.vector import Vector


def several(name: str, **fields: str) -> Callable[[Vector], Lesson]:
    """Return the lesson of a loss of several teachers' logits."""

    def lesson(vector: Vector) -> Lesson:
        options = {fields.get(key, key): value for key, value in vector.hyper.items()}
        teacher = Ensemble([Frozen(Says(z), TASK) for z in vector.inputs["teacher_logits"]])
        return offline(vector, {"name": name, **options}, teacher=teacher)

    return lesson


def camkd_feature(vector: Vector) -> Lesson:
    """The logits of a teacher's classifier on the student's feature are given, hence they have channels of their own.

    Each feature has `rest` times as many additional channels as the vector's, equal on both sides, so that the mean
    squared error is 1 + rest times smaller.
    """
    student_features, teacher_features = vector.side("student_features"), vector.side("teacher_features")
    read = vector.inputs["extra.teacher_head_logits"]
    classes = read.shape[2]
    rest = max(-(-classes // x.shape[1]) for x in student_features)

    def beside(feature: Tensor, logits: Tensor) -> Tensor:
        spare = feature.new_zeros(*feature.shape[:1], rest * feature.shape[1] - classes, *feature.shape[2:])
        return torch.cat([feature, logits[..., None, None].expand(*logits.shape, *feature.shape[2:]), spare], dim=1)

    student, teachers = (
        [beside(x, z) for x, z in zip(side, read, strict=True)] for side in (student_features, teacher_features)
    )
    widths = [x.shape[1] for x in student]
    begins = [sum(widths[:m]) for m in range(len(widths))]
    model = Says(read[0], torch.cat(student, dim=1))
    picks = iter(
        picking(nn.Conv2d(sum(widths), width, 1, bias=False), chosen(sum(widths), begin, width))
        for begin, width in zip(begins, widths, strict=True)
    )
    term = Term(CAMKDFeature(), 1.0 + rest, connector=lambda s, t: next(picks))
    heads = [chosen(width, x.shape[1], classes) for width, x in zip(widths, student_features, strict=True)]
    teacher = Ensemble([Frozen(Reads(x, head), TASK) for x, head in zip(teachers, heads, strict=True)])
    batch = seen(vector, 0, len(vector.inputs["target"]))
    scheme = wired(Offline(Player(model, Terms.from_method(term), TASK), teacher), batch)

    def part(m: int, first: int, count: int) -> Tensor:
        return of(model, "layer1")()[:, begins[m] + first : begins[m] + first + count]

    arrive = {f"student_features.{m}": lambda m=m, x=x: part(m, 0, x.shape[1]) for m, x in enumerate(student_features)}
    logits = [lambda m=m, x=x: part(m, x.shape[1], classes).sum((2, 3)) for m, x in enumerate(student_features)]
    return Lesson([(scheme, batch)], arrive | {"extra.teacher_head_logits": lambda: torch.stack([f() for f in logits])})


def dgkd(vector: Vector) -> Lesson:
    """The published code sums over the teachers; none is dropped here."""
    teacher_logits = vector.inputs["teacher_logits"]
    weight = vector.hyper["lambda"] * len(teacher_logits)
    term = {"name": "aver", "class_mean": True, "temperature": vector.hyper["temperature"], "weight": weight}
    return offline(vector, term, teacher=Ensemble([Frozen(Says(z), TASK) for z in teacher_logits]))


LESSONS: dict[str, Callable[[Vector], Lesson]] = {
    "aekd": several("aekd", svm_norm="normalise"),
    "aver": several("aver"),
    "camkd_feature": camkd_feature,
    "camkd_logit": several("camkd"),
    "dgkd": dgkd,
    "ebkd": several("ebkd"),
    "endd": several("endd"),
}
