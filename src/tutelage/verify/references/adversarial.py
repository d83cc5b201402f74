"""References for adversarially robust students."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.adversarial.attack import perturb
from tutelage.losses.functional.divergence import softened_kl
from tutelage.verify.reference import Reference
from tutelage.verify.vector import Vector

Weighted = list[tuple[float, Reference]]
Model = Callable[[Tensor], Tensor]
CLEAN = {"clean_student_logits": "student_clean", "teacher_adv_logits": "teacher_adversarial"}


def per_class(vector: Vector) -> float:
    """Return the scale of code that also averages over classes."""
    return 1 / vector.inputs["teacher_logits"].shape[1]


def models(vector: Vector) -> tuple[Model, Model]:
    """Return the student and teacher of an attack: linear classifiers of the flattened image, from their weights."""
    weight, bias = vector.get("parameters.student.weight"), vector.get("parameters.student.bias")
    teacher_weight = vector.inputs["extra.teacher_weight"]
    assert weight is not None
    return (lambda x: F.linear(x.flatten(1), weight, bias)), (lambda x: F.linear(x.flatten(1), teacher_weight))


def add_attacked_logits(vector: Vector, *, through_teacher: bool) -> Vector:
    """Add both models' logits for the clean and the attacked image to the vector."""
    student, teacher = models(vector)
    image, hyper = vector.inputs["extra.image"], vector.hyper

    def objective(x: Tensor) -> Tensor:
        return softened_kl(student(x), teacher(x if through_teacher else image))

    start = image + 0.001 * vector.inputs["extra.noise"]
    options = {"steps": hyper.integer("steps"), "step_size": hyper["step_size"], "radius": hyper["epsilon"]}
    adversarial = perturb(image, objective, start=start, **options)
    outputs = {
        "student_logits": student(adversarial),
        "teacher_logits": teacher(image),
        "extra.clean_student_logits": student(image),
        "extra.teacher_adv_logits": teacher(adversarial),
    }
    return replace(vector, inputs=vector.inputs | outputs)


def ard(vector: Vector) -> Weighted:
    """KD from the teacher's clean logits to the attacked student, and the task loss of the clean images."""
    alpha = vector.hyper["alpha"]
    return [
        (alpha, Reference("kd", scale=per_class)),
        (1 - alpha, Reference("ce", student="extra.clean_student_logits")),
    ]


def iad(vector: Vector) -> Weighted:
    """IAD with the teacher's and the student's clean logits, and the task loss of the clean images."""
    alpha = vector.hyper["alpha"]
    task_loss = Reference("ce", student="extra.clean_student_logits")
    return [(alpha, Reference("iad", options={"weigh_teacher": False}, renames=CLEAN)), (1 - alpha, task_loss)]


def iad_ii(vector: Vector) -> Weighted:
    """The task loss, IAD with a robust teacher and the student's clean logits, and KD from a standard teacher."""
    first, second = vector.hyper["alpha1"], vector.hyper["alpha2"]
    options = {"adversarial": True, "gamma": vector.hyper["temperature"] ** 2}
    robust = Reference("iad", teacher="extra.teacher_adv_logits", options=options, renames=CLEAN)
    standard = Reference("kd", teacher="extra.standard_teacher_adv_logits")
    return [(1 - first - second, Reference("ce")), (first, robust), (second, standard)]


REFERENCES = {
    "adaad": Reference(
        derive=lambda vector: add_attacked_logits(vector, through_teacher=True), renames=CLEAN, scale=per_class
    ),
    "ard": Reference(combine=ard),
    "iad": Reference(combine=iad),
    "iad_ii": Reference(combine=iad_ii),
    "rslad": Reference(options={"eps": 1e-5}, renames={"clean_student_logits": "student_clean"}, scale=per_class),
    "rslad_attack": Reference(
        "kd", options={"temperature": 1.0}, derive=lambda vector: add_attacked_logits(vector, through_teacher=False)
    ),
}
