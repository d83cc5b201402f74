"""References for losses of language models' tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import IGNORE_INDEX
from tutelage.verify.reference import Reference
from tutelage.verify.vector import Vector

DISTILLM = {"lam": "skew"}
PROJECTIONS = {"kd_temperature": "temperature", "kd_objective": "objective"}


def tokens(vector: Vector) -> float:
    """Return the scale of code that sums over tokens."""
    mask, target = vector.get("extra.mask"), vector.get("target")
    if mask is None:
        mask = torch.ones_like(vector.inputs["student_logits"][..., 0]) if target is None else target != IGNORE_INDEX
    return float(mask.sum())


def total(values: Tensor) -> Tensor:
    """Return the sum, for code that sums over tokens and parts."""
    return values.sum()


def gkd_scale(vector: Vector) -> float:
    """Return the scale of TRL's reductions."""
    batch, length, vocabulary = vector.inputs["student_logits"].shape
    labelled = vector.hyper.get("use_labels", True)
    count = tokens(vector) if labelled else float(batch * length)
    scales = {"batchmean": 1.0 if labelled else length, "sum": count, "mean": 1 / vocabulary}
    return scales[vector.hyper.one_of("reduction", *scales)]


def keep_used_labels(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keep the labels only if they are used."""
    return loss_kwargs if vector.hyper.get("use_labels", True) else {}


def symmetric(vector: Vector) -> list[tuple[float, Reference]]:
    """Cross-entropy and reverse KL."""
    lam = vector.hyper["lam"]
    return [
        (1 - lam, Reference("skew_kl", options={"skew": 0.0, "entropy": False})),
        (lam, Reference("skew_rkl", options={"skew": 0.0})),
    ]


def mark_teacher_half(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Mark the first half of the sequences as the teacher's; the rest are the student's."""
    count = len(vector.inputs["student_logits"])
    return loss_kwargs | {"by_teacher": torch.arange(count) < count // 2}


def add_heads(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add both language models' heads."""
    student, teacher = vector.inputs["parameters.student_lm_head.weight"], vector.inputs["extra.teacher_lm_head.weight"]
    return loss_kwargs | {"student_head": (student,), "teacher_head": (teacher,)}


def add_vocabularies(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add both language models' embeddings and heads."""
    both_heads = add_heads(vector, {})
    return loss_kwargs | {
        f"{side}_vocabulary": (vector.inputs[f"extra.{side}_embed"], *both_heads[f"{side}_head"])
        for side in ("student", "teacher")
    }


def uld(vector: Vector) -> list[tuple[float, Reference]]:
    """The cross-entropy of the next token, and ULD's sorted probabilities."""
    shift = {"shift": True}
    return [
        (vector.hyper["crossentropy_weight"], Reference("token_ce", options=shift)),
        (
            vector.hyper["distillation_weight"],
            Reference("uld", options=shift, renames={"teacher_target": "teacher_targets"}),
        ),
    ]


REFERENCES = {
    "distillm2": Reference(
        fields={
            "base_alpha_1": "skew",
            "base_alpha_2": "reverse_skew",
            "gradual_beta": "gradual",
            "max_steps": "epochs",
        },
        options=lambda vector: {
            "shift": True,
            "reverse_only": vector.hyper.one_of("loss_type", "distillm_v1", "distillm_v2") == "distillm_v1",
        },
        renames={"logp_logq": "teacher_anchor", "logq_logp": "student_anchor", "global_step": "epoch"},
        prepare_inputs=mark_teacher_half,
        scale=lambda vector: 2.0,
    ),
    "dskd": Reference(fields=PROJECTIONS, prepare_inputs=add_heads, scale=tokens),
    "dskd_cma": Reference(
        fields=PROJECTIONS, renames={"teacher_target": "teacher_targets"}, prepare_inputs=add_vocabularies, reduce=total
    ),
    "forward_kl_lm": Reference("skew_kl", options={"skew": 0.0, "entropy": False}),
    **{
        f"gkd_jsd_{end}": Reference("gkd", scale=gkd_scale, prepare_inputs=keep_used_labels)
        for end in ("beta0", "beta05", "beta1")
    },
    "js_lm": Reference("gkd", options=lambda vector: {"beta": 1 - vector.hyper["lam"]}),
    "reverse_kl_lm": Reference("skew_rkl", options={"skew": 0.0}),
    "skew_kl": Reference(fields=DISTILLM, options={"entropy": False}),
    "skew_rkl": Reference(fields=DISTILLM),
    **{
        f"sparse_topk_{name}": Reference("sparse_topk", options={"divergence": name}, scale=tokens)
        for name in ("jsd", "kl", "tvd")
    },
    "symmetric_kl_lm": Reference(combine=symmetric),
    "taid": Reference(
        fields={"num_train_steps": "epochs"},
        options=lambda vector: {"adaptive": not vector.hyper["disable_adaptive"], "entropy": False},
        renames={"global_step": "epoch"},
        state={r"^prev_loss": "previous_loss"},
    ),
    "tvd_lm": Reference("tvd"),
    "uld": Reference(combine=uld),
}
