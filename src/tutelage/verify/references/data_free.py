"""References for data-free distillation."""

from __future__ import annotations

import math

from torch import Tensor

from tutelage.verify.reference import Reference
from tutelage.verify.sides import detach
from tutelage.verify.vector import Vector

Weighted = list[tuple[float, Reference]]
CODE = {"reverse": True, "floor": 0.01}


def cmi(vector: Vector) -> Weighted:
    """The one-hot loss, the adversarial loss, and the contrast with a memory bank, which is empty at n_updates = 0."""
    hyper = vector.hyper
    bank = hyper["n_updates"] > 0

    def batch_and_bank(tensors: list[Tensor]) -> list[Tensor]:
        first = hyper.integer("synthesis_batch_size") if bank else len(tensors[0])
        return [x for x in (tensors[0][:first], tensors[0][first:]) if len(x)]

    contrast = Reference(
        "cmi_contrast",
        options={"temperature": hyper["cr_T"]},
        student="extra.proj_local_feature",
        teacher="extra.proj_global_feature",
        one_call=True,
        convert_side=batch_and_bank,
    )
    one_hot = Reference("ce", student="teacher_logits")
    return [(hyper["oh"], one_hot), (-hyper["adv"], Reference("cmi_adversarial")), (hyper["cr"], contrast)]


def dafl(vector: Vector) -> Weighted:
    """The generator's loss, with log₁₀, and the student's, with a detached teacher."""
    hyper = vector.hyper
    options = {"one_hot": hyper["oh"], "balance": hyper["ie"] / math.log(10), "activation": hyper["a"]}
    generator = Reference(
        "dafl",
        options=options,
        student="teacher_logits teacher_features",
        one_call=True,
        convert_teacher_side=lambda tensors: None,
    )
    student = Reference(
        "kd",
        options={"temperature": 1.0},
        student="student_logits",
        teacher="teacher_logits",
        convert_teacher_side=detach,
    )
    return [(1.0, generator), (1.0, student)]


def dfad(vector: Vector) -> Weighted:
    """The discrepancy, minimised by the student and maximised by the generator."""
    generator = vector.hyper.one_of("phase", "student", "generator") == "generator"
    return [(-1.0, Reference("dfad")) if generator else (1.0, Reference("dfad", convert_teacher_side=detach))]


def zskt(vector: Vector) -> Weighted:
    """KD averaged over classes and without T²: negative for the generator, with attention maps for the student."""
    temperature = vector.hyper["temperature"]
    weight = 1 / (vector.inputs["teacher_logits"].shape[1] * temperature**2)
    kd = Reference("kd", student="student_logits", teacher="teacher_logits")
    if vector.hyper.one_of("phase", "student", "generator") == "generator":
        return [(-weight, kd)]
    return [(weight, kd), (vector.hyper["AT_beta"], Reference("at"))]


REFERENCES = {
    "adaptive_deepinversion_js": Reference("adi", options=CODE, scale=lambda vector: vector.hyper["adi_scale"]),
    "cmi": Reference(combine=cmi, extra_loss=lambda vector: vector.hyper["bn"] * vector.inputs["extra.bn_loss"]),
    "dafl": Reference(combine=dafl),
    "deepinversion_bn": Reference(
        fields={"first_bn_multiplier": "first"},
        renames={"running_mean": "means", "running_var": "variances"},
        one_call=True,
    ),
    "dfad": Reference(combine=dfad),
    "image_prior_tv": Reference("total_variation", fields={"tv_l1": "l1", "tv_l2": "l2"}, student="extra.image"),
    "jsdiv_datafree": Reference("jensen_shannon", options=CODE),
    "zskt": Reference(combine=zskt),
}
