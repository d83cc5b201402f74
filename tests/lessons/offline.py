"""Schemes with an existing teacher."""

from __future__ import annotations

from collections.abc import Callable

from saying import Says, of

from lessons.lesson import TASK, Lesson, seen, wired
from tutelage.objective.terms import Terms
from tutelage.schemes.blockwise import Blockwise, BlockwisePlayer
from tutelage.teachers.frozen import Frozen
from tutelage.verify.vector import Vector


def lit(vector: Vector) -> Lesson:
    """The student's outputs don't depend on its blocks' inputs; nothing is copied, or it would output the teacher's."""
    hyper = vector.hyper
    response_weight, feature_weight = hyper["beta"] / 2, (1 - hyper["beta"]) / 2
    soft = response_weight * (1 - hyper["alpha"]) * hyper["temperature"] ** 2
    terms = [
        {"name": "ce", "weight": response_weight * hyper["alpha"]},
        {"name": "soft_ce", "temperature": hyper["temperature"], "weight": soft},
        {"name": "lit", "weight": feature_weight, "connector": "identity"},
    ]
    features = vector.side("student_features")
    model = Says(vector.inputs["student_logits"], *features)
    teacher = Frozen(Says(vector.inputs["teacher_logits"], *vector.side("teacher_features")), TASK)
    batch = seen(vector, 0, len(vector.inputs["target"]))
    scheme = wired(Blockwise(BlockwisePlayer(model, Terms.from_method(terms), TASK, copy=False), teacher), batch)
    arrive = {f"student_features.{k}": of(model, f"layer{k + 1}") for k in range(len(features))}
    return Lesson([(scheme, batch)], arrive | {"student_logits": of(model)})


LESSONS: dict[str, Callable[[Vector], Lesson]] = {"lit": lit}
