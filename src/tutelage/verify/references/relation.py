"""Relation knowledge."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tutelage.verify.reference import Reference
from tutelage.verify.vector import Vector


def whole_irg(vector: Vector) -> list[tuple[float, Reference]]:
    """Vertices, edges of every layer, and transformations between the maps."""
    hyper, layers = vector.hyper, vector.side("student_features")
    maps = [str(i) for i, x in enumerate(layers) if x.dim() == 4]
    student, teacher = (" ".join(f"{side}_features.{i}" for i in maps) for side in ("student", "teacher"))
    return [
        (hyper["w_vert"], Reference("logit_mse", student="student_logits", teacher="teacher_logits")),
        (hyper["w_edge"] / len(layers), Reference("irg_edge")),
        (hyper["w_tran"], Reference("irg_transformation", student=student, teacher=teacher)),
    ]


def dino(vector: Vector) -> list[tuple[float, Reference]]:
    """Published crop by crop, ours image by image."""
    images = len(vector.side("teacher_logits")[0]) // 2
    return [
        (
            1.0,
            Reference(
                "dino",
                fields={
                    "student_temp": "student_temperature",
                    "teacher_temp": "teacher_temperature",
                    "warmup_teacher_temp": "warmup_teacher_temperature",
                    "warmup_teacher_temp_epochs": "warmup_epochs",
                    "center_momentum": "centre_momentum",
                },
                sides=lambda logits: [x.unflatten(0, (-1, images)).transpose(0, 1) for x in logits],
                state={"^center": "centre"},
            ),
        )
    ]


def own_bank(vector: Vector) -> dict[str, Any]:
    """As many anchors as the vector has."""
    return {"size": len(vector.inputs["extra.teacher_memory"])}


def columns(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Published with the queue's vectors as columns."""
    return {**loss_kwargs, "queue": loss_kwargs["queue"].T}


def graph(sides: list[Tensor]) -> list[Tensor]:
    """Published as the nodes of one graph."""
    return [nodes.unsqueeze(0) for nodes in sides]


def fours(sides: list[Tensor]) -> list[Tensor]:
    """Published with each image followed by its three versions in the batch."""
    return [x.unflatten(0, (-1, 4)) for x in sides]


ROWS = {
    "cc_kernel": Reference("cc", fields={"P_order": "order"}),
    "cc_repdistiller": Reference(
        "cc_neighbours",
        fields={"feat_dim": "dim"},
        state={r"^embed_s\.": "embed_student.", r"^embed_t\.": "embed_teacher."},
    ),
    "compress": Reference(
        options=own_bank, state={"^teacher_memory": "teacher_bank.rows", "^student_memory": "student_bank.rows"}
    ),
    "crd": Reference(
        fields={"feat_dim": "dim", "nce_k": "negatives", "nce_t": "temperature", "nce_m": "momentum"},
        samples="n_data",
        describes=("nce_k",),  # as many as contrast_index has
        state={
            r"^embed_s\.linear\.": "embed_student.",
            r"^embed_t\.linear\.": "embed_teacher.",
            r"^memory_v1": "memory_student",
            r"^memory_v2": "memory_teacher",
            r"^Z_v1": "z_student",
            r"^Z_v2": "z_teacher",
        },
    ),
    "dino": Reference(combine=dino, describes=("ncrops", "nepochs")),
    "irg": Reference(combine=whole_irg),
    "lightly_queue": Reference(options={"normalise": False}),
    "lsp": Reference(
        sides=graph, prepare=lambda vector, loss_kwargs: {"adjacency": loss_kwargs["adjacency"].unsqueeze(0)}
    ),
    "minilm_relation": Reference(),
    "relative_teacher": Reference(options={"frobenius": True}),
    "seed": Reference(prepare=columns),
    "sskd": Reference(
        student="student_logits student_features",
        teacher="teacher_logits teacher_features",
        sides=fours,
        fields={"kd_T": "kd_temperature", "tf_T": "tf_temperature", "ss_T": "ss_temperature"},
    ),
}
