"""References for relation losses."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tutelage.verify.reference import Reference
from tutelage.verify.vector import Vector


def irg(vector: Vector) -> list[tuple[float, Reference]]:
    """The vertices, the edges of every layer, and the transformations between maps."""
    hyper, layers = vector.hyper, vector.side("student_features")
    maps = [str(i) for i, x in enumerate(layers) if x.dim() == 4]
    student, teacher = (" ".join(f"{side}_features.{i}" for i in maps) for side in ("student", "teacher"))
    return [
        (hyper["w_vert"], Reference("logit_mse", student="student_logits", teacher="teacher_logits")),
        (hyper["w_edge"] / len(layers), Reference("irg_edge")),
        (hyper["w_tran"], Reference("irg_transformation", student=student, teacher=teacher)),
    ]


def dino(vector: Vector) -> list[tuple[float, Reference]]:
    """DINO, whose logits are published ordered by crop and taken by the loss ordered by image."""
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
                convert_side=lambda logits: [x.unflatten(0, (-1, images)).transpose(0, 1) for x in logits],
                state={"^center": "centre"},
            ),
        )
    ]


def bank_size(vector: Vector) -> dict[str, Any]:
    """Return the option for the number of anchors that the vector has."""
    return {"size": len(vector.inputs["extra.teacher_memory"])}


def transpose_queue(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Transpose the queue, whose vectors are published as columns."""
    return {**loss_kwargs, "queue": loss_kwargs["queue"].T}


def add_batch_dimension(sides: list[Tensor]) -> list[Tensor]:
    """Add a batch dimension to the nodes of the published graph."""
    return [nodes.unsqueeze(0) for nodes in sides]


def group_by_four(sides: list[Tensor]) -> list[Tensor]:
    """Group the batch by fours: each image and its three versions."""
    return [x.unflatten(0, (-1, 4)) for x in sides]


REFERENCES = {
    "cc_kernel": Reference("cc", fields={"P_order": "order"}),
    "cc_repdistiller": Reference(
        "cc_neighbours",
        fields={"feat_dim": "dim"},
        state={r"^embed_s\.": "embed_student.", r"^embed_t\.": "embed_teacher."},
    ),
    "compress": Reference(
        options=bank_size, state={"^teacher_memory": "teacher_bank.rows", "^student_memory": "student_bank.rows"}
    ),
    "crd": Reference(
        fields={"feat_dim": "dim", "nce_k": "negatives", "nce_t": "temperature", "nce_m": "momentum"},
        samples="n_data",
        ignored=("nce_k",),  # the number that contrast_index has
        state={
            r"^embed_s\.linear\.": "embed_student.",
            r"^embed_t\.linear\.": "embed_teacher.",
            r"^memory_v1": "memory_student",
            r"^memory_v2": "memory_teacher",
            r"^Z_v1": "z_student",
            r"^Z_v2": "z_teacher",
        },
    ),
    "dino": Reference(combine=dino, ignored=("ncrops", "nepochs")),
    "irg": Reference(combine=irg),
    "lightly_queue": Reference(options={"normalise": False}),
    "lsp": Reference(
        convert_side=add_batch_dimension,
        prepare_inputs=lambda vector, loss_kwargs: {"adjacency": loss_kwargs["adjacency"].unsqueeze(0)},
    ),
    "minilm_relation": Reference(),
    "relative_teacher": Reference(options={"frobenius": True}),
    "seed": Reference(prepare_inputs=transpose_queue),
    "sskd": Reference(
        student="student_logits student_features",
        teacher="teacher_logits teacher_features",
        convert_side=group_by_four,
        fields={"kd_T": "kd_temperature", "tf_T": "tf_temperature", "ss_T": "ss_temperature"},
    ),
}
