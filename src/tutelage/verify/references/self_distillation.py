"""References for self-distillation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Loss
from tutelage.verify.reference import Reference
from tutelage.verify.sides import detach, no_teacher, select_detached_member, select_member, take_single, unstack
from tutelage.verify.vector import Vector

Weighted = list[tuple[float, Reference]]
TASK_LOSS = Reference("ce", student="student_logits")


def bake(vector: Vector) -> Weighted:
    """CE and the batch's ensemble."""
    ensemble = Reference("bake", student="student_logits", renames={"student_features.0": "embedding"})
    return [(1.0, TASK_LOSS), (vector.hyper["lamda"], ensemble)]


def byot(vector: Vector) -> Weighted:
    """CE of every exit, BYOT from the deepest exit, and the hint, whose distance is summed."""
    alpha, shallow = vector.hyper["alpha"], "extra.middle_logits"
    deepest = " ".join(["extra.final_feature"] * len(vector.side("student_features")))
    distillation = Reference(
        "byot",
        options={"entropy": False},
        student=shallow,
        teacher="student_logits",
        one_call=True,
        convert_side=unstack,
        convert_teacher_side=take_single,
    )
    hint = Reference("byot_hint", options={"active": True}, teacher=deepest, reduce=lambda values: values.sum())
    exits = Reference("ce", student=shallow, convert_side=unstack, convert_teacher_side=list)
    task_losses = [(1 - alpha, TASK_LOSS), (1 - alpha, exits)]
    return [*task_losses, (alpha, distillation), (vector.hyper["beta"], hint)]


def cs_kd(vector: Vector) -> Weighted:
    """CE, and KD with another sample of the class as the teacher."""
    return [(1.0, TASK_LOSS), (vector.hyper["lamda"], Reference("kd", teacher="extra.pair_logits"))]


def halves(tensors: list[Tensor], half: int) -> list[Tensor]:
    """Return the first or the second half of each tensor: one of the two views."""
    return [x.chunk(2)[half] for x in tensors]


def ddgsd(vector: Vector) -> Weighted:
    """Half of the sum of both views' CE, and DDGSD."""
    names = "student_logits student_features"
    views = Reference(
        "ddgsd",
        options={"global_mean": True},
        student=names,
        teacher=names,
        one_call=True,
        convert_side=lambda tensors: halves(tensors, 0),
        convert_teacher_side=lambda tensors: halves(tensors, 1),
    )
    task_loss = Reference(
        "ce",
        student="student_logits",
        prepare_inputs=lambda v, loss_kwargs: {"targets": loss_kwargs["targets"].repeat(2)},
    )
    return [(0.5, task_loss), (1.0, views)]


def dlb(vector: Vector) -> Weighted:
    """CE of both batches, and KD from the student's logits of the previous iteration."""
    current = Reference("ce", student="extra.current_logits", renames={"current_target": "targets"})
    before, after = (len(vector.inputs[name]) for name in ("student_logits", "extra.current_logits"))
    distillation = Reference("kd", teacher="extra.previous_logits")
    size = before + after
    return [(before / size, TASK_LOSS), (after / size, current), (vector.hyper["alpha"], distillation)]


def frskd(vector: Vector) -> Weighted:
    """CE of the student and of the pyramid, and KD and attention transfer from the detached pyramid."""
    hyper = vector.hyper
    kd = Reference("kd", student="student_logits", teacher="teacher_logits", convert_teacher_side=detach)
    maps = Reference("at", student="student_features", teacher="teacher_features", convert_teacher_side=detach)
    task_losses = [
        (1.0, Reference("ce", student=f"{side}_logits", convert_teacher_side=no_teacher))
        for side in ("student", "teacher")
    ]
    return [*task_losses, (hyper["alpha"], kd), (hyper["beta"], maps)]


def mean_teacher(vector: Vector) -> Weighted:
    """One of the two consistency costs, MSE or KL."""
    squared = vector.hyper.one_of("consistency_type", "mse", "kl") == "mse"
    reference = Reference("consistency") if squared else Reference("kd", options={"temperature": 1.0})
    return [(vector.hyper["consistency_weight"], reference)]


def add_mixtures(vector: Vector) -> Vector:
    """Add the mixes of every classifier's logits and of the features to the vector."""
    mix_lambda, order = vector.hyper["lam"], vector.inputs["extra.order"]

    def mix(x: Tensor, samples: int = 0) -> Tensor:
        return mix_lambda * x + (1 - mix_lambda) * x.index_select(samples, order)

    mixed = {f"extra.mixed_features.{k}": mix(x) for k, x in enumerate(vector.side("student_features"))}
    mixed["extra.mixed_logits"] = mix(vector.inputs["student_logits"], 1)
    return replace(vector, inputs=vector.inputs | mixed)


def mixskd(vector: Vector) -> Weighted:
    """CE of all logits, those of mixtures with both labels; KL of the pairs, with detached teachers; and features.

    mixcls: whether the mixtures' CE counts, as in the script for ImageNet and unlike the one for CIFAR.
    """
    mix_lambda, counts = vector.hyper["lam"], vector.hyper.get("mixcls", True)
    heads = range(len(vector.inputs["student_logits"]))
    mixed, mixture = "extra.mixed_logits", "extra.mixture_logits"
    self_teachers = {name: f"extra.self_teacher_of_{name}" for name in ("mixed", "mixture")}

    def with_partner_targets(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"targets": loss_kwargs["targets"][vector.inputs["extra.order"]]}

    classifiers = [
        Reference("ce", student=mixture, convert_side=select_member(k), convert_teacher_side=no_teacher) for k in heads
    ]
    task_losses = [(1.0, replace(reference, student="student_logits")) for reference in classifiers]
    classifiers += [Reference("ce", student=name) for name in self_teachers.values()]
    if counts:
        task_losses += [(mix_lambda, reference) for reference in classifiers]
        task_losses += [
            (1 - mix_lambda, replace(reference, prepare_inputs=with_partner_targets)) for reference in classifiers
        ]
    pairs = [
        Reference(
            "kd",
            student=student,
            teacher=teacher,
            convert_side=select_member(k),
            convert_teacher_side=select_detached_member(k),
        )
        for student, teacher in ((mixed, mixture), (mixture, mixed))
        for k in heads[:-1]
    ]
    last: dict[str, Any] = {"convert_side": select_member(heads[-1]), "convert_teacher_side": detach}
    pairs += [
        Reference("kd", student=student, teacher=self_teachers[name], **last)
        for student, name in ((mixed, "mixture"), (mixture, "mixed"))
    ]
    maps = Reference("fitnet", student="extra.mixed_features", teacher="extra.mixture_features")
    return [*task_losses, *((1.0, reference) for reference in pairs), (1.0, maps)]


def hidden_size(vector: Vector) -> dict[str, Any]:
    """Return the number of hidden units in the vector's weights; the published network has more, which are zero."""
    return {"hidden": next(len(x) for name, x in vector.among("parameters").items() if name.startswith("0.0.weight"))}


def noisy_student(vector: Vector) -> Weighted:
    """CE of the labelled images, and the loss on pseudo-labels; a temperature of −1 means hard labels."""
    smoothing, temperature = vector.hyper["label_smoothing"], vector.hyper["teacher_softmax_temp"]
    kind = {"hard": True} if temperature == -1 else {"temperature": temperature}
    options = {"probabilities": True, "smoothing": smoothing, **kind}
    pseudo = Reference(
        "noisy_student", options=options, student="extra.unlabeled_logits", teacher="extra.teacher_probs"
    )
    return [(1.0, Reference("ce", options={"smoothing": smoothing})), (vector.hyper["unlabel_ratio"], pseudo)]


def add_indices(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add the samples' positions in the batch as their indices."""
    return loss_kwargs | {"index": torch.arange(len(vector.inputs["student_logits"]))}


def compute_previous_epoch(vector: Vector, loss: Loss) -> None:
    """Compute the loss on the previous epoch's logits, if the vector has them, so that it stores them."""
    logits = vector.get("extra.previous_epoch_logits")
    if logits is not None:
        with torch.no_grad():
            loss(logits, targets=vector.inputs["extra.previous_epoch_target"], epoch=vector.hyper["epoch"] - 1)


def per_class(vector: Vector) -> float:
    """Return the scale of code that also averages over classes."""
    return 1 / vector.inputs["student_logits"].shape[1]


def tf_kd_reg(vector: Vector) -> Weighted:
    """CE and the virtual teacher."""
    alpha = vector.hyper["reg_alpha"]
    virtual = Reference(
        "tf_kd_reg", fields={"reg_temperature": "temperature"}, options={"of_probabilities": True}, scale=per_class
    )
    return [(1 - alpha, TASK_LOSS), (alpha * vector.hyper["multiplier"], virtual)]


def tf_kd_self(vector: Vector) -> Weighted:
    """CE, and KD from a copy of the student."""
    alpha = vector.hyper["alpha"]
    return [(1 - alpha, TASK_LOSS), (alpha * vector.hyper["multiplier"], Reference("kd", scale=per_class))]


def add_votes(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add the votes of the dense ranking, if any: their number per class, or each position's class."""
    logits, names = vector.inputs["student_logits"], list(vector.among("extra"))
    if not names:
        return loss_kwargs
    votes = vector.inputs[f"extra.{names[0]}"]
    return loss_kwargs | {"votes": votes if votes.shape == logits.shape else F.one_hot(votes, logits.shape[1]).sum(1)}


REFERENCES = {
    "bake": Reference(combine=bake),
    "byot": Reference(combine=byot),
    "cs_kd": Reference(combine=cs_kd),
    "ddgsd": Reference(combine=ddgsd),
    "dlb": Reference(combine=dlb),
    "frskd": Reference(combine=frskd),
    "mean_teacher": Reference(combine=mean_teacher),
    "mixskd": Reference(derive=add_mixtures, combine=mixskd),
    "mixskd_discriminator": Reference(
        options=hidden_size,
        state={r"^(\d+)\.(\d+)\.(weight|bias)\d*$": r"discriminators.\1.\2.\3"},
        one_call=True,
        ignored=("hidden",),
    ),
    "noisy_student": Reference(combine=noisy_student),
    "online_label_smoothing": Reference(prepare_loss=compute_previous_epoch),
    "ps_kd": Reference(
        fields={"alpha_T": "alpha", "end_epoch": "epochs"},
        samples=lambda vector: len(vector.inputs["student_logits"]),
        state={"previous_predictions": "predictions"},
        prepare_inputs=add_indices,
    ),
    "tf_kd_reg": Reference(combine=tf_kd_reg),
    "tf_kd_self": Reference(combine=tf_kd_self),
    "zipf_ls": Reference(prepare_inputs=add_votes, ignored=("dense",)),
    "uskd": Reference(options={"log_rank": True}, student="student_logits student_features", one_call=True),
}
