"""Response knowledge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.policies.temperature.standardised import standardised
from tutelage.verify.reference import Reference
from tutelage.verify.sides import nobody
from tutelage.verify.vector import Vector

Weighted = list[tuple[float, Reference]]


def samples(vector: Vector) -> float:
    """For code that sums over the batch."""
    return float(vector.inputs["student_logits"].shape[0])


def per_class(vector: Vector) -> float:
    """For code that also averages over classes."""
    return 1.0 / vector.inputs["student_logits"].shape[-1]


def with_truth(vector: Vector) -> Weighted:
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
    """The same at two weights, the soft one summed over classes."""
    weights = vector.hyper["task_loss_weight"], vector.hyper["distill_loss_weight"]
    return _heads(*weights, vector.hyper.one_of("distill_type", *KINDS), Reference("kd", student=HEAD))


HEAD = "extra.dist_logits"
KINDS = "none", "soft", "hard"
SOFT = ("temperature",)  # of which a hard label knows nothing, and a power that is given


def _heads(task: float, distill: float, kind: str, soft: Reference) -> Weighted:
    if kind == "none":
        return [(1.0, Reference("ce"))]
    return [(task, Reference("ce")), (distill, Reference("hard_label", student=HEAD) if kind == "hard" else soft)]


def timm_logit(vector: Vector) -> Weighted:
    """CE and KD at two weights."""
    return [(vector.hyper["task_loss_weight"], Reference("ce")), (vector.hyper["distill_loss_weight"], Reference("kd"))]


def lwf(vector: Vector) -> Weighted:
    """CE over all classes, and α of the old ones'."""
    return [(1.0, Reference("ce")), (vector.hyper["alpha"], Reference("lwf"))]


def hsakd(vector: Vector) -> Weighted:
    """Every classifier's divergence, and the truth of the unturned images, the first of each one's versions."""
    versions = len(vector.side("student_logits")[0]) // len(vector.inputs["target"])
    truth = Reference("ce", student="student_logits.0", sides=lambda z: [z[0][::versions]], teacher_sides=nobody)
    return [(1.0, truth), (1.0, Reference("hsakd", together=True))]


def mlkd(vector: Vector) -> Weighted:
    """Both views' CE; all parts on the weak view; KD on the strong one, but at T = 2 and 6 on the weak one again."""
    student, teacher = "extra.student_logits_strong", "extra.teacher_logits_strong"
    first = vector.hyper["temperature"]
    truth, taught = vector.hyper["ce_loss_weight"], vector.hyper["kd_loss_weight"]
    weak = Reference("mlkd", options={"temperatures": (first, 3.0, 5.0, 2.0, 6.0), "keep": "share"})
    return [
        (truth, Reference("ce")),
        (truth, Reference("ce", student=student)),
        (taught, weak),
        *(
            (taught, Reference("kd", options={"temperature": t}, student=student, teacher=teacher))
            for t in (first, 3.0, 5.0)
        ),
        *((taught, Reference("kd", options={"temperature": t})) for t in (2.0, 6.0)),
    ]


def unpadded(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """allRank's padding: a teacher's score of −1."""
    return {"mask": vector.inputs["teacher_logits"] != -1}


def sampled(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """The scores of sampled items, whatever they are called."""
    others = [name for name in vector.among("extra") if name not in ("negative_scores", "candidate_scores")]
    return loss_kwargs | {"sampled_scores": vector.inputs[f"extra.{others[0]}"]} if others else loss_kwargs


def each_temperature(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Temperatures by example, if the vector has them, as an input or in the place of the one number."""
    names = list(vector.among("extra"))
    given = vector.inputs[f"extra.{names[0]}"] if names else vector.hyper.get("temperature")
    return {"temperatures": torch.as_tensor(given, dtype=torch.float64)} if given is not None else {}


def classes_last(tensors: list[Tensor]) -> list[Tensor]:
    """(B, …, C) → (B, C, …)."""
    return [x.movedim(-1, 1) for x in tensors]


def standardise(tensors: list[Tensor]) -> list[Tensor]:
    """Each side's logits at zero mean and unit spread."""
    return [standardised(x) for x in tensors]


def sharpness(vector: Vector) -> Mapping[str, Any]:
    """The power of the teacher's probabilities is 1/T, whichever is given."""
    power = vector.hyper.get("l")
    return {} if power is None else {"temperature": 1 / power}


def kept(vector: Vector) -> Mapping[str, Any]:
    """What becomes of the classes that weren't kept, by the name of the kind of labels."""
    if "soft_label_type" not in vector.hyper:
        return {}
    kinds = {"marginal_renorm": "none", "marginal_smoothing_k5": "spread", "marginal_smoothing_k10": "spread"}
    return {"rest": kinds[vector.hyper.one_of("soft_label_type", *kinds)]}


def log_kept(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Published as probabilities."""
    return loss_kwargs | {"teacher_topk_values": vector.inputs["extra.teacher_topk_probabilities"].log()}


def classifier(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """The teacher's classifier, if the costs aren't given."""
    weight = vector.get("extra.head_weight")
    return loss_kwargs if weight is None else loss_kwargs | {"head": (weight, None)}


def all_candidates(vector: Vector) -> Mapping[str, Any]:
    """Every candidate is of the teacher's first items."""
    return {"top": vector.inputs["extra.candidate_scores"].shape[1]}


ROWS = {
    "annealing_kd": Reference(describes=("T",)),
    "ctkd": Reference(fields={"grl_lambda": "lambda_end"}, state={"^global_T$": "temperature.theta"}),
    "deit_hard": Reference(combine=deit, describes=SOFT),
    "deit_soft": Reference(combine=deit, describes=SOFT),
    "fkd": Reference(options=kept, prepare=log_kept, describes=("top",)),  # as many as are given
    "hsakd": Reference(combine=hsakd),
    "kd_total": Reference(combine=with_truth),
    "listmle": Reference(options={"eps": 1e-10}, prepare=unpadded),
    "listnet": Reference(options={"eps": 1e-10}, prepare=unpadded),
    "logit_mse": Reference(describes=("target",)),
    "logit_standardization": Reference(
        "kd", sides=standardise, scale=lambda vector: float(vector.hyper["kd_loss_weight"])
    ),
    "logit_standardization_dkd": Reference("dkd", sides=standardise),
    "lwf": Reference(combine=lwf),
    "mlkd": Reference(combine=mlkd),
    "ranking_distillation": Reference(
        student="extra.candidate_scores",
        fields={"lambda": "sharpness"},
        options=all_candidates,
        renames={"student_logits": "positive_scores"},
        prepare=sampled,
        describes=("mu", "num_items"),  # of items that were sampled, if there are any
    ),
    "ranknet": Reference(prepare=unpadded),
    "rrd": Reference(scale=samples),
    "textbrewer_kd_ce": Reference("soft_ce", sides=classes_last, prepare=each_temperature),
    "textbrewer_kd_mse": Reference("logit_mse", sides=classes_last, prepare=each_temperature),
    "timm_logit": Reference(combine=timm_logit),
    "timm_token": Reference(combine=timm_token, describes=SOFT),
    "ttm": Reference(options=sharpness, describes=SOFT),
    "tinybert_prediction": Reference("soft_ce", sides=classes_last, scale=per_class),
    "wkd_l": Reference(prepare=classifier),
    "wttm": Reference("ttm", options=lambda vector: {"weighted": True, **sharpness(vector)}, describes=SOFT),
    "wsld": Reference(scale=lambda vector: float(vector.hyper["alpha"])),
}
