"""References for response losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.policies.temperature.standardised import standardise_logits
from tutelage.verify.reference import Reference
from tutelage.verify.sides import no_teacher
from tutelage.verify.vector import Vector

Weighted = list[tuple[float, Reference]]


def batch_sum(vector: Vector) -> float:
    """Return the scale of code that sums over the batch."""
    return float(vector.inputs["student_logits"].shape[0])


def per_class(vector: Vector) -> float:
    """Return the scale of code that also averages over classes."""
    return 1.0 / vector.inputs["student_logits"].shape[-1]


def with_task_loss(vector: Vector) -> Weighted:
    """(1 − α)·CE + α·KD."""
    alpha = vector.hyper["alpha"]
    return [(1 - alpha, Reference("ce")), (alpha, Reference("kd"))]


def deit(vector: Vector) -> Weighted:
    """(1 − α)·CE of the class head, and α of the distillation head's loss; the soft one is averaged over classes."""
    alpha = vector.hyper["alpha"]
    return _heads(
        1 - alpha,
        alpha,
        vector.hyper.one_of("distillation_type", *KINDS),
        Reference("kd", student=HEAD, scale=per_class),
    )


def timm_token(vector: Vector) -> Weighted:
    """Weigh the task loss and the distillation loss separately; the soft one is summed over classes."""
    weights = vector.hyper["task_loss_weight"], vector.hyper["distill_loss_weight"]
    return _heads(*weights, vector.hyper.one_of("distill_type", *KINDS), Reference("kd", student=HEAD))


HEAD = "extra.dist_logits"
KINDS = "none", "soft", "hard"
SOFT = ("temperature",)  # unused with hard labels, and if the vector has a power


def _heads(task: float, distill: float, kind: str, soft: Reference) -> Weighted:
    if kind == "none":
        return [(1.0, Reference("ce"))]
    return [(task, Reference("ce")), (distill, Reference("hard_label", student=HEAD) if kind == "hard" else soft)]


def timm_logit(vector: Vector) -> Weighted:
    """CE and KD at two weights."""
    return [(vector.hyper["task_loss_weight"], Reference("ce")), (vector.hyper["distill_loss_weight"], Reference("kd"))]


def lwf(vector: Vector) -> Weighted:
    """CE over all classes, and α of the old classes' loss."""
    return [(1.0, Reference("ce")), (vector.hyper["alpha"], Reference("lwf"))]


def hsakd(vector: Vector) -> Weighted:
    """Add each classifier's divergence and the task loss of unrotated images, the first of each image's versions."""
    versions = len(vector.side("student_logits")[0]) // len(vector.inputs["target"])
    task_loss = Reference(
        "ce", student="student_logits.0", convert_side=lambda z: [z[0][::versions]], convert_teacher_side=no_teacher
    )
    return [(1.0, task_loss), (1.0, Reference("hsakd", one_call=True))]


def mlkd(vector: Vector) -> Weighted:
    """CE of both views; MLKD on the weak view; KD on the strong view and, at T = 2 and 6, on the weak one."""
    student, teacher = "extra.student_logits_strong", "extra.teacher_logits_strong"
    first = vector.hyper["temperature"]
    ce_weight, kd_weight = vector.hyper["ce_loss_weight"], vector.hyper["kd_loss_weight"]
    weak = Reference("mlkd", options={"temperatures": (first, 3.0, 5.0, 2.0, 6.0), "keep": "share"})
    return [
        (ce_weight, Reference("ce")),
        (ce_weight, Reference("ce", student=student)),
        (kd_weight, weak),
        *(
            (kd_weight, Reference("kd", options={"temperature": t}, student=student, teacher=teacher))
            for t in (first, 3.0, 5.0)
        ),
        *((kd_weight, Reference("kd", options={"temperature": t})) for t in (2.0, 6.0)),
    ]


def add_padding_mask(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the mask of allRank's padding, which has a teacher's score of −1."""
    return {"mask": vector.inputs["teacher_logits"] != -1}


def add_sampled_scores(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add the scores of sampled items, whose published name varies."""
    names = [name for name in vector.among("extra") if name not in ("negative_scores", "candidate_scores")]
    return loss_kwargs | {"sampled_scores": vector.inputs[f"extra.{names[0]}"]} if names else loss_kwargs


def add_temperatures(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return temperatures per sample, if the vector has them as an input or as its hyper-parameter."""
    names = list(vector.among("extra"))
    value = vector.inputs[f"extra.{names[0]}"] if names else vector.hyper.get("temperature")
    return {"temperatures": torch.as_tensor(value, dtype=torch.float64)} if value is not None else {}


def move_classes(tensors: list[Tensor]) -> list[Tensor]:
    """Move the classes to dimension 1, (B, …, C) → (B, C, …)."""
    return [x.movedim(-1, 1) for x in tensors]


def standardise(tensors: list[Tensor]) -> list[Tensor]:
    """Standardise a side's logits to mean 0 and deviation 1."""
    return [standardise_logits(x) for x in tensors]


def sharpness(vector: Vector) -> Mapping[str, Any]:
    """Return T from the power of the teacher's probabilities, 1/T, if the vector has that."""
    power = vector.hyper.get("l")
    return {} if power is None else {"temperature": 1 / power}


def rest_option(vector: Vector) -> Mapping[str, Any]:
    """Return the option for the classes that weren't stored, from the kind of labels."""
    if "soft_label_type" not in vector.hyper:
        return {}
    kinds = {"marginal_renorm": "none", "marginal_smoothing_k5": "spread", "marginal_smoothing_k10": "spread"}
    return {"rest": kinds[vector.hyper.one_of("soft_label_type", *kinds)]}


def log_probabilities(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take the logarithm of the published probabilities."""
    return loss_kwargs | {"teacher_topk_values": vector.inputs["extra.teacher_topk_probabilities"].log()}


def add_classifier(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add the teacher's classifier, if the vector has it in place of the costs."""
    weight = vector.get("extra.head_weight")
    return loss_kwargs if weight is None else loss_kwargs | {"head": (weight, None)}


def all_candidates(vector: Vector) -> Mapping[str, Any]:
    """Return the option by which every candidate is one of the teacher's top items."""
    return {"top": vector.inputs["extra.candidate_scores"].shape[1]}


REFERENCES = {
    "annealing_kd": Reference(ignored=("T",)),
    "ctkd": Reference(fields={"grl_lambda": "lambda_end"}, state={"^global_T$": "temperature.theta"}),
    "deit_hard": Reference(combine=deit, ignored=SOFT),
    "deit_soft": Reference(combine=deit, ignored=SOFT),
    "fkd": Reference(
        options=rest_option, prepare_inputs=log_probabilities, ignored=("top",)
    ),  # the number of values in the vector
    "hsakd": Reference(combine=hsakd),
    "kd_total": Reference(combine=with_task_loss),
    "listmle": Reference(options={"eps": 1e-10}, prepare_inputs=add_padding_mask),
    "listnet": Reference(options={"eps": 1e-10}, prepare_inputs=add_padding_mask),
    "logit_mse": Reference(ignored=("target",)),
    "logit_standardization": Reference(
        "kd", convert_side=standardise, scale=lambda vector: float(vector.hyper["kd_loss_weight"])
    ),
    "logit_standardization_dkd": Reference("dkd", convert_side=standardise),
    "lwf": Reference(combine=lwf),
    "mlkd": Reference(combine=mlkd),
    "ranking_distillation": Reference(
        student="extra.candidate_scores",
        fields={"lambda": "sharpness"},
        options=all_candidates,
        renames={"student_logits": "positive_scores"},
        prepare_inputs=add_sampled_scores,
        ignored=("mu", "num_items"),  # of the sampled items, if there are any
    ),
    "ranknet": Reference(prepare_inputs=add_padding_mask),
    "rrd": Reference(scale=batch_sum),
    "textbrewer_kd_ce": Reference("soft_ce", convert_side=move_classes, prepare_inputs=add_temperatures),
    "textbrewer_kd_mse": Reference("logit_mse", convert_side=move_classes, prepare_inputs=add_temperatures),
    "timm_logit": Reference(combine=timm_logit),
    "timm_token": Reference(combine=timm_token, ignored=SOFT),
    "ttm": Reference(options=sharpness, ignored=SOFT),
    "tinybert_prediction": Reference("soft_ce", convert_side=move_classes, scale=per_class),
    "wkd_l": Reference(prepare_inputs=add_classifier),
    "wttm": Reference("ttm", options=lambda vector: {"weighted": True, **sharpness(vector)}, ignored=SOFT),
    "wsld": Reference(scale=lambda vector: float(vector.hyper["alpha"])),
}
