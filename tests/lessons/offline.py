"""A teacher that is already there."""

from __future__ import annotations

from collections.abc import Callable

from saying import Says, of

from lessons.lesson import TASK, Lesson, seen, wired
from tutelage.objective.terms import Terms
from tutelage.schemes.blockwise import Blockwise, BlockwisePlayer
from tutelage.teachers.frozen import Frozen
from tutelage.verify.vector import Vector


def lit(vector: Vector) -> Lesson:
    """The student says the same, whatever its blocks get; nothing is copied, or it would say what the teacher does."""
    hyper = vector.hyper
    told, own = hyper["beta"] / 2, (1 - hyper["beta"]) / 2
    soft = told * (1 - hyper["alpha"]) * hyper["temperature"] ** 2
    terms = [
        {"name": "ce", "weight": told * hyper["alpha"]},
        {"name": "soft_ce", "temperature": hyper["temperature"], "weight": soft},
        {"name": "lit", "weight": own, "connector": "identity"},
    ]
    features = vector.side("student_features")
    model = Says(vector.inputs["student_logits"], *features)
    teacher = Frozen(Says(vector.inputs["teacher_logits"], *vector.side("teacher_features")), TASK)
    batch = seen(vector, 0, len(vector.inputs["target"]))
    scheme = wired(Blockwise(BlockwisePlayer(model, Terms.from_method(terms), TASK, copy=False), teacher), batch)
    arrive = {f"student_features.{k}": of(model, f"layer{k + 1}") for k in range(len(features))}
    return Lesson([(scheme, batch)], arrive | {"student_logits": of(model)})


LESSONS: dict[str, Callable[[Vector], Lesson]] = {"lit": lit}
