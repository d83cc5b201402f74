"""References for feature losses."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from tutelage.nn import connectors
from tutelage.nn.token_grid import Grid
from tutelage.verify.reference import Reference
from tutelage.verify.sides import no_teacher
from tutelage.verify.vector import Vector

PROJECTIONS = {r"^proj(\d+)\.": r"projections.\1.", r"^(fit_dense|projection)\.": "projections.0."}
TEXTBREWER = {"floor": -1e-3}


def projection(vector: Vector) -> dict[str, str]:
    """Return the option for a projection per pair of layers if the vector has weights, and for none otherwise."""
    return {"projection": "each" if vector.among("parameters") else "none"}


def lit(vector: Vector) -> list[tuple[float, Reference]]:
    """Half of the losses on labels and on the teacher's logits, and of the distances between blocks."""
    alpha, beta = vector.hyper["alpha"] * vector.hyper["beta"] / 2, vector.hyper["beta"] / 2
    square = vector.hyper["temperature"] ** 2
    soft = Reference("soft_ce", student="student_logits", teacher="teacher_logits", scale=lambda vector: square)
    task_loss = Reference("ce", student="student_logits", convert_teacher_side=no_teacher)
    return [(alpha, task_loss), (beta - alpha, soft), (0.5 - beta, Reference("lit"))]


def pairs_by_teacher(vector: Vector) -> dict[str, str]:
    """Map the published list of pairs, in which those of the teacher's first layer come first, to regressors."""
    layers = len(vector.side("student_features"))
    pairs = range(layers * len(vector.side("teacher_features")))
    return {rf"^{pair}\.": f"regressors.{pair % layers}_{pair // layers}." for pair in pairs}


def weights_by_pair(vector: Vector) -> Vector:
    """Stack the weights, published as such a list; without weights of pairs or channels these are uniform."""
    student, teacher = vector.side("student_features"), vector.side("teacher_features")
    pair_weights, channel_weights = (vector.side(f"extra.{name}_weights") for name in ("pair", "channel"))
    pairs, channels = [], []
    for number, (t, _) in enumerate(product(teacher, student)):
        uniform = torch.ones_like(t[:, :, 0, 0]) / (1 if pair_weights else t.shape[1])
        pairs.append(pair_weights[number].reshape(-1) if pair_weights else torch.ones_like(t[:, 0, 0, 0]))
        channels.append(channel_weights[number] if channel_weights else uniform)
    stacked = {
        f"by_layer.{j}": torch.stack(channels[j * len(student) : (j + 1) * len(student)], dim=1)
        for j in range(len(teacher))
    }
    by_pair = torch.stack(pairs, dim=1).unflatten(1, (len(teacher), len(student))).mT
    return replace(vector, inputs=vector.inputs | stacked | {"by_pair": by_pair})


def timm_feature(vector: Vector) -> list[tuple[float, Reference]]:
    """The task loss and the feature loss."""
    feature = Reference("hidden_state", options=projection, state=PROJECTIONS)
    return [
        (vector.hyper["task_loss_weight"], Reference("ce", student="student_logits")),
        (vector.hyper["distill_loss_weight"], feature),
    ]


def tinybert(vector: Vector) -> list[tuple[float, Reference]]:
    """Attentions and hidden states, with every k-th layer of the teacher."""
    layers = len(vector.side("extra.student_attentions"))
    step = len(vector.side("extra.teacher_attentions")) // layers
    attentions = " ".join(f"extra.teacher_attentions.{(i + 1) * step - 1}" for i in range(layers))
    states = " ".join(f"teacher_features.{i * step}" for i in range(layers + 1))
    hidden = Reference("hidden_state", options={"projection": "shared"}, state=PROJECTIONS, teacher=states)
    return [
        (1.0, Reference("attention_mse", student="extra.student_attentions", teacher=attentions)),
        (layers + 1, hidden),
    ]


def patch_maps(features: list[Tensor]) -> list[Tensor]:
    """Convert layers, stacked (B, L, N, D) or single (B, N, D), to maps."""
    layers = [layer for x in features for layer in (x.unbind(1) if x.dim() == 4 else [x])]
    return [connectors.as_map(x, Grid(side := math.isqrt(x.shape[1]), side)) for x in layers]


def add_head(name: str, vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add the teacher's classifier to the loss's inputs."""
    return loss_kwargs | {
        "head": (vector.inputs[f"parameters.{name}.weight"], vector.inputs[f"parameters.{name}.bias"])
    }


def add_both_heads(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add both sides' classifiers, without biases, to the loss's inputs."""
    student, teacher = (vector.inputs[f"extra.{side}_head_weight"] for side in ("student", "teacher"))
    return loss_kwargs | {"student_head": (student, None), "head": (teacher, None)}


REFERENCES = {
    "ab": Reference(scale=lambda vector: 3 / 1000),
    "afd": Reference(fields={"att_f": "ratio"}),
    "bert_pkd": Reference("patient_kd"),
    "cankd": Reference(
        scale=lambda vector: float(vector.hyper.get("loss_weight", 1.0)),
        state={"^theta": "query", "^phi": "key", "^g": "value", "^W": "out"},
        ignored=("parameters.W.0.bias",),  # which the batch norm after it cancels
    ),
    "cat_kd": Reference(prepare_inputs=add_both_heads),
    "cosine_hidden": Reference("hidden_state", options={"kind": "cosine", "projection": "none"}),
    "distillkit_hidden_state": Reference("hidden_state", options=projection, state=PROJECTIONS),
    "fitnet_hint": Reference(
        "fitnet", connector=lambda vector: partial(connectors.Regressor, use_relu=vector.hyper.get("use_relu", True))
    ),
    "ft": Reference(fields={"p1": "power", "p2": "p"}, options={"rate": 0, "factor_weight": 1.0}),
    "ft_official": Reference("ft", fields={"beta": "factor_weight"}, options={"rate": 0}),
    "ickd": Reference(state={r"^embed_s\.conv2d\.": "embed.0.", r"^embed_s\.l2norm\.": "embed.1."}),
    "l2t_ww": Reference(
        scale=lambda vector: float(vector.hyper["beta"]),
        state=pairs_by_teacher,
        one_call=True,
        derive=weights_by_pair,
        renames={"by_pair": "pair_weights", "by_layer": "channel_weights"},
    ),
    "lit": Reference(combine=lit),
    "mgd": Reference(fields={"lambda": "masked"}, scale=lambda vector: vector.hyper["alpha"]),
    "manifold": Reference(ignored=("extra.order",)),  # the order that rand sorts to
    "norm": Reference(),
    "ofd": Reference(
        renames={"teacher_bn_weight": "teacher_bn_weight", "teacher_bn_bias": "teacher_bn_bias"},
        state={r"^connector(\d+)/": r"connectors.\1."},
        scale=lambda vector: 1 / vector.hyper["scale"],
    ),
    "pad": Reference(stand_ins={"log_variance": lambda vector: lambda student: vector.inputs["extra.log_variance"]}),
    "reviewkd_abf": Reference("reviewkd", fields={"mid_channel": "mid_channels"}, state={r"^abf(\d+)/": r"abfs.\1."}),
    "reviewkd_hcl": Reference("hcl"),
    "semckd": Reference(
        fields={"soft": "temperature"},
        options=lambda vector: {"batch_size": len(vector.side("student_features")[0])},
        state={
            r"^query_(\d+)\.linear1": r"queries.\1.0",
            r"^query_(\d+)\.linear2": r"queries.\1.2",
            r"^key_(\d+)\.linear1": r"keys.\1.0",
            r"^key_(\d+)\.linear2": r"keys.\1.2",
            r"^regressor(\d)(\d)\.regressor\.": r"projectors.\1_\2.",
        },
    ),
    "show_attend_distill": Reference(
        state={
            r"^linear_trans_t\.query_layer\.": "queries.",
            r"^linear_trans_s\.key_layer\.": "keys.",
            r"^linear_trans_s\.bilinear\.": "bilinear.",
            r"\.linear\.": ".0.",
            r"\.bn\.": ".1.",
            "^p_t$": "teacher_places",
            "^p_s$": "student_places",
        }
    ),
    "simkd": Reference(ignored=("parameters.cls_t.weight", "parameters.cls_t.bias")),  # which no gradient reaches
    "srrl": Reference(
        fields={"weight": "response_weight"},
        renames={"teacher_logits": "teacher_response"},
        state={r"^Connectors\.": "embed."},
        prepare_inputs=partial(add_head, "fc_t"),
    ),
    "textbrewer_att_ce": Reference("attention_ce", options=TEXTBREWER),
    "textbrewer_att_ce_mean": Reference("attention_ce", options={"heads": "mean", **TEXTBREWER}),
    "textbrewer_att_mse": Reference("attention_mse", options=TEXTBREWER),
    "textbrewer_att_mse_sum": Reference("attention_mse", options={"heads": "sum", **TEXTBREWER}),
    "textbrewer_fsp": Reference("fsp"),
    "textbrewer_hid_mse": Reference("hidden_state", options={"projection": "none"}),
    "textbrewer_mmd": Reference("token_mmd"),
    "timm_feature": Reference(combine=timm_feature),
    "tinybert_intermediate": Reference(combine=tinybert, ignored=("teacher_features",)),  # every k-th is compared
    "vid": Reference(ignored=("init_pred_var",), state={r"^(regressor\.|log_scale)": r"gaussians.0.\1"}),
    "vkd": Reference(
        stand_ins={"project": lambda vector: lambda student: student @ vector.inputs["extra.projection"].mT}
    ),
    "vitkd": Reference(
        fields={"lambda": "masked"},
        state={r"^align2\.": "align.", r"^align\.(?=weight|bias)": "align.2."},
        convert_side=patch_maps,
    ),
}
