"""References for losses of several teachers."""

from __future__ import annotations

from tutelage.verify.reference import Reference
from tutelage.verify.sides import no_teacher
from tutelage.verify.vector import Vector

Weighted = list[tuple[float, Reference]]


def dgkd(vector: Vector) -> Weighted:
    """λ of the divergences averaged over classes and summed over teachers, and 1 − λ of the task loss."""
    weight = vector.hyper["lambda"]
    distillation = Reference("aver", options={"class_mean": True})
    has_targets = vector.get("target") is not None
    task_loss: Weighted = [(1 - weight, Reference("ce", convert_teacher_side=no_teacher))] if has_targets else []
    return [*task_loss, (weight * len(vector.inputs["teacher_logits"]), distillation)]


def amtml(vector: Vector) -> Weighted:
    """2α of the divergence from the mixed teachers, and 1 − α of CE."""
    alpha = vector.hyper["alpha"]
    mixed = Reference(
        "amtml",
        student="student_logits student_features",
        state={"^W$": "v"},
        one_call=True,
        convert_side=lambda tensors: [
            tensors[0],
            tensors[1].flatten(2).amax(2) if tensors[1].dim() > 2 else tensors[1],
        ],
        convert_teacher_side=lambda tensors: tensors[0] if len(tensors) == 1 else tensors,
    )
    return [(2 * alpha, mixed), (1 - alpha, Reference("ce", student="student_logits"))]


def ka(vector: Vector) -> Weighted:
    """KA with one layer of the student, repeated for each teacher."""
    student = " ".join(["student_features"] * len(vector.side("teacher_features")))
    parts = {"^enc": "encoders.0", "^fam": "aligners.0", "^dec": "decoders.0"}
    return [(1.0, Reference("ka", student=student, state=parts))]


REFERENCES = {
    "amtml": Reference(combine=amtml),
    "aekd": Reference(fields={"svm_norm": "normalise"}, ignored=("target",)),
    "aver": Reference(ignored=("target",)),
    "ebkd": Reference(ignored=("target",)),
    "camkd_feature": Reference(one_call=True),
    "camkd_logit": Reference("camkd"),
    "dgkd": Reference(combine=dgkd),
    "cfl_mmd": Reference(),
    "ka": Reference(combine=ka),
}
