"""A student that teaches itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Loss
from tutelage.verify.reference import Reference
from tutelage.verify.sides import apart, constants, nobody, only, part, split
from tutelage.verify.vector import Vector

Weighted = list[tuple[float, Reference]]
TRUTH = Reference("ce", student="student_logits")


def bake(vector: Vector) -> Weighted:
    """CE and the batch's ensemble."""
    one = Reference("bake", student="student_logits", renames={"student_features.0": "embedding"})
    return [(1.0, TRUTH), (vector.hyper["lamda"], one)]


def byot(vector: Vector) -> Weighted:
    """CE of every exit, the deepest exit's probabilities and its feature; the feature's distance is a sum."""
    alpha, shallow = vector.hyper["alpha"], "extra.middle_logits"
    deepest = " ".join(["extra.final_feature"] * len(vector.side("student_features")))
    taught = Reference(
        "byot",
        options={"entropy": False},
        student=shallow,
        teacher="student_logits",
        together=True,
        sides=split,
        teacher_sides=only,
    )
    hint = Reference("byot_hint", options={"active": True}, teacher=deepest, reduce=lambda values: values.sum())
    truths = [(1 - alpha, TRUTH), (1 - alpha, Reference("ce", student=shallow, sides=split, teacher_sides=list))]
    return [*truths, (alpha, taught), (vector.hyper["beta"], hint)]


def cs_kd(vector: Vector) -> Weighted:
    """CE, and KD with another sample of the class as the teacher."""
    return [(1.0, TRUTH), (vector.hyper["lamda"], Reference("kd", teacher="extra.pair_logits"))]


def halves(tensors: list[Tensor], half: int) -> list[Tensor]:
    """The first or the second view of each."""
    return [x.chunk(2)[half] for x in tensors]


def ddgsd(vector: Vector) -> Weighted:
    """Half of both views' CE, and what they say of each other."""
    both = "student_logits student_features"
    views = Reference(
        "ddgsd",
        options={"global_mean": True},
        student=both,
        teacher=both,
        together=True,
        sides=lambda tensors: halves(tensors, 0),
        teacher_sides=lambda tensors: halves(tensors, 1),
    )
    twice = Reference(
        "ce", student="student_logits", prepare=lambda v, loss_kwargs: {"targets": loss_kwargs["targets"].repeat(2)}
    )
    return [(0.5, twice), (1.0, views)]


def dlb(vector: Vector) -> Weighted:
    """CE of both batches, and KD with the last iteration's own logits as the teacher."""
    now = Reference("ce", student="extra.current_logits", renames={"current_target": "targets"})
    before, after = (len(vector.inputs[name]) for name in ("student_logits", "extra.current_logits"))
    taught = Reference("kd", teacher="extra.previous_logits")
    size = before + after
    return [(before / size, TRUTH), (after / size, now), (vector.hyper["alpha"], taught)]


def frskd(vector: Vector) -> Weighted:
    """CE of the student and of the pyramid, which is a constant where it teaches answers and attention maps."""
    hyper = vector.hyper
    kd = Reference("kd", student="student_logits", teacher="teacher_logits", teacher_sides=constants)
    maps = Reference("at", student="student_features", teacher="teacher_features", teacher_sides=constants)
    truths = [(1.0, Reference("ce", student=f"{side}_logits", teacher_sides=nobody)) for side in ("student", "teacher")]
    return [*truths, (hyper["alpha"], kd), (hyper["beta"], maps)]


def mean_teacher(vector: Vector) -> Weighted:
    """Either of the two consistency costs."""
    squared = vector.hyper.one_of("consistency_type", "mse", "kl") == "mse"
    row = Reference("consistency") if squared else Reference("kd", options={"temperature": 1.0})
    return [(vector.hyper["consistency_weight"], row)]


def mixtures(vector: Vector) -> Vector:
    """The vector with the mix of every classifier's answers and of the features."""
    share, order = vector.hyper["lam"], vector.inputs["extra.order"]

    def mix(x: Tensor, samples: int = 0) -> Tensor:
        return share * x + (1 - share) * x.index_select(samples, order)

    mixed = {f"extra.mixed_features.{k}": mix(x) for k, x in enumerate(vector.side("student_features"))}
    mixed["extra.mixed_logits"] = mix(vector.inputs["student_logits"], 1)
    return replace(vector, inputs=vector.inputs | mixed)


def mixskd(vector: Vector) -> Weighted:
    """CE of all answers, of mixtures with both labels; KL of the pairs, whose teachers are constants; and features.

    mixcls: whether the mixtures' CE counts, as in the script for ImageNet and not in the one for CIFAR.
    """
    share, counts = vector.hyper["lam"], vector.hyper.get("mixcls", True)
    heads = range(len(vector.inputs["student_logits"]))
    mixed, mixture = "extra.mixed_logits", "extra.mixture_logits"
    above = {one: f"extra.self_teacher_of_{one}" for one in ("mixed", "mixture")}

    def other(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"targets": loss_kwargs["targets"][vector.inputs["extra.order"]]}

    answers = [Reference("ce", student=mixture, sides=part(k), teacher_sides=nobody) for k in heads]
    truths = [(1.0, replace(row, student="student_logits")) for row in answers]
    answers += [Reference("ce", student=name) for name in above.values()]
    if counts:
        truths += [(share, row) for row in answers]
        truths += [(1 - share, replace(row, prepare=other)) for row in answers]
    pairs = [
        Reference("kd", student=one, teacher=teacher_outputs, sides=part(k), teacher_sides=apart(part(k)))
        for one, teacher_outputs in ((mixed, mixture), (mixture, mixed))
        for k in heads[:-1]
    ]
    pairs += [
        Reference("kd", student=own, teacher=above[name], sides=part(heads[-1]), teacher_sides=constants)
        for own, name in ((mixed, "mixture"), (mixture, "mixed"))
    ]
    maps = Reference("fitnet", student="extra.mixed_features", teacher="extra.mixture_features")
    return [*truths, *((1.0, row) for row in pairs), (1.0, maps)]


def hidden(vector: Vector) -> dict[str, Any]:
    """As many hidden units as there are weights of: the published ones have more, which are zero."""
    return {"hidden": next(len(x) for name, x in vector.among("parameters").items() if name.startswith("0.0.weight"))}


def noisy_student(vector: Vector) -> Weighted:
    """CE of the labelled images, and the pseudo-labels of the others; a temperature of −1 is a hard label."""
    smoothing, temperature = vector.hyper["label_smoothing"], vector.hyper["teacher_softmax_temp"]
    kind = {"hard": True} if temperature == -1 else {"temperature": temperature}
    options = {"probabilities": True, "smoothing": smoothing, **kind}
    pseudo = Reference(
        "noisy_student", options=options, student="extra.unlabeled_logits", teacher="extra.teacher_probs"
    )
    return [(1.0, Reference("ce", options={"smoothing": smoothing})), (vector.hyper["unlabel_ratio"], pseudo)]


def numbered(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Samples by their place in the batch."""
    return loss_kwargs | {"index": torch.arange(len(vector.inputs["student_logits"]))}


def epoch_before(vector: Vector, loss: Loss) -> None:
    """What the student said an epoch ago, if there was one."""
    logits = vector.get("extra.previous_epoch_logits")
    if logits is not None:
        with torch.no_grad():
            loss(logits, targets=vector.inputs["extra.previous_epoch_target"], epoch=vector.hyper["epoch"] - 1)


def per_class(vector: Vector) -> float:
    """For code that also averages over classes."""
    return 1 / vector.inputs["student_logits"].shape[1]


def tf_kd_reg(vector: Vector) -> Weighted:
    """CE and the virtual teacher."""
    alpha = vector.hyper["reg_alpha"]
    virtual = Reference(
        "tf_kd_reg", fields={"reg_temperature": "temperature"}, options={"of_probabilities": True}, scale=per_class
    )
    return [(1 - alpha, TRUTH), (alpha * vector.hyper["multiplier"], virtual)]


def tf_kd_self(vector: Vector) -> Weighted:
    """CE and KD with a copy of itself as the teacher."""
    alpha = vector.hyper["alpha"]
    return [(1 - alpha, TRUTH), (alpha * vector.hyper["multiplier"], Reference("kd", scale=per_class))]


def votes(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """The dense ranking, if there are votes: of each class how many, or what each position votes for."""
    logits, names = vector.inputs["student_logits"], list(vector.among("extra"))
    if not names:
        return loss_kwargs
    given = vector.inputs[f"extra.{names[0]}"]
    return loss_kwargs | {"votes": given if given.shape == logits.shape else F.one_hot(given, logits.shape[1]).sum(1)}


ROWS = {
    "bake": Reference(combine=bake),
    "byot": Reference(combine=byot),
    "cs_kd": Reference(combine=cs_kd),
    "ddgsd": Reference(combine=ddgsd),
    "dlb": Reference(combine=dlb),
    "frskd": Reference(combine=frskd),
    "mean_teacher": Reference(combine=mean_teacher),
    "mixskd": Reference(derive=mixtures, combine=mixskd),
    "mixskd_discriminator": Reference(
        options=hidden,
        state={r"^(\d+)\.(\d+)\.(weight|bias)\d*$": r"discriminators.\1.\2.\3"},
        together=True,
        describes=("hidden",),
    ),
    "noisy_student": Reference(combine=noisy_student),
    "online_label_smoothing": Reference(before=epoch_before),
    "ps_kd": Reference(
        fields={"alpha_T": "alpha", "end_epoch": "epochs"},
        samples=lambda vector: len(vector.inputs["student_logits"]),
        state={"previous_predictions": "predictions"},
        prepare=numbered,
    ),
    "tf_kd_reg": Reference(combine=tf_kd_reg),
    "tf_kd_self": Reference(combine=tf_kd_self),
    "zipf_ls": Reference(prepare=votes, describes=("dense",)),
    "uskd": Reference(options={"log_rank": True}, student="student_logits student_features", together=True),
}
