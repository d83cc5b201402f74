"""References for online distillation among peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from tutelage.schemes.peer_ensembles import Attention, FeatureFusion, Gate, PeerEnsemble
from tutelage.structures import Outputs
from tutelage.verify.reference import Reference
from tutelage.verify.sides import select_member
from tutelage.verify.vector import Vector

Weighted = list[tuple[float, Reference]]
EPS = {"eps": 1e-7}


def dml(vector: Vector) -> Weighted:
    """CE, and the divergences summed over peers."""
    peers = vector.inputs["extra.peer_logits"].shape[0]
    return [(1.0, Reference("ce")), (peers, Reference("dml", teacher="extra.peer_logits", options={"eps": 1e-8}))]


def pcl(vector: Vector) -> Weighted:
    """ONE's loss with the classifier of all features, and KD from each other peer's average to each peer."""
    peers, weight = range(len(vector.inputs["student_logits"])), vector.hyper["w"]
    pair_weight = weight / (len(peers) - 1)
    averages = [
        (
            pair_weight,
            Reference(
                "kd",
                teacher="extra.average_logits",
                convert_side=select_member(k),
                convert_teacher_side=select_member(j),
            ),
        )
        for k in peers
        for j in peers
        if j != k
    ]
    return [(1.0, Reference("one", fields={"w": "consistency_weight"})), *averages]


class _TeacherOutputs(nn.Module):
    """A module whose forward returns an ensemble's teacher outputs."""

    def __init__(self, ensemble: PeerEnsemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def forward(self, outputs: list[Outputs]) -> Outputs:
        teacher_outputs = self.ensemble.group_comparison(outputs)[1]
        assert teacher_outputs is not None
        return teacher_outputs


def ensemble_outputs(
    vector: Vector, ensemble: PeerEnsemble, outputs: list[Outputs], names: Mapping[str, str]
) -> Outputs:
    """Return an ensemble's teacher outputs with the vector's weights; names maps published modules to its modules."""
    ensemble.build(outputs, "layer", ["layer"])
    weights = {}
    for full_name in vector.among("parameters"):
        module, _, name = full_name.rpartition(".")
        if module in names:
            weights[f"ensemble.{names[module]}.{name}"] = vector.inputs[f"parameters.{full_name}"]
    teacher_outputs: Outputs = functional_call(_TeacherOutputs(ensemble).double(), weights, (outputs,))
    return teacher_outputs


def add_gated_sum(vector: Vector) -> Vector:
    """Add the branches' gated sum to the vector, from their common input."""
    trunk = vector.inputs["extra.trunk"]
    outputs = [Outputs(z, {"layer:in:patches": trunk}) for z in vector.inputs["student_logits"]]
    teacher_outputs = ensemble_outputs(vector, Gate(), outputs, {"control_v1": "gate", "bn_v1": "norm"})
    return replace(vector, inputs=vector.inputs | {"extra.ensemble_logits": teacher_outputs.response})


def add_queries_and_keys(vector: Vector) -> Vector:
    """Add the queries and keys of the peers' features to the vector."""
    peers = zip(vector.inputs["teacher_logits"], vector.inputs["extra.embeddings"], strict=True)
    leader = vector.inputs["student_logits"]
    outputs = [Outputs(leader, {"layer": vector.inputs["extra.embeddings"][0]})]
    outputs += [Outputs(z, {"layer": f}) for z, f in peers]
    teacher_outputs = ensemble_outputs(vector, Attention(), outputs, {"query_weight": "query", "key_weight": "key"})
    return replace(
        vector, inputs=vector.inputs | {f"extra.{name}": value for name, value in teacher_outputs.metadata.items()}
    )


def add_fused_logits(vector: Vector) -> Vector:
    """Add the fused classifier's logits to the vector."""
    pairs = zip(vector.inputs["student_logits"], vector.side("student_features"), strict=True)
    names = {"conv1": "fuse.0", "bn1": "fuse.1", "conv1_1": "fuse.3", "bn1_1": "fuse.4", "fc2": "classifier"}
    teacher_outputs = ensemble_outputs(vector, FeatureFusion(), [Outputs(z, {"layer": f}) for z, f in pairs], names)
    return replace(vector, inputs=vector.inputs | {"extra.fused": teacher_outputs.response})


def peers_alpha(vector: Vector) -> dict[str, Any]:
    """Return the options with the weight of the peers' divergences."""
    return {"alpha": vector.hyper["alpha"] * vector.hyper.get("consistency_weight", 1.0), **EPS}


def drop_side(tensors: list[Tensor]) -> None:
    """Return None in place of the teacher's side."""


REFERENCES = {
    "cl_ilr": Reference("dml_joint", options={"pairwise": False, **EPS}),
    "dcm": Reference(options={"eps": 1e-8}),
    "dml": Reference(combine=dml),
    "dml_joint": Reference(options=EPS),
    "ffl": Reference(options=EPS),
    "ffl_fusion": Reference("ffl", student="student_logits", teacher="extra.fused", derive=add_fused_logits),
    "kdcl": Reference(fields={"lambda": "strength"}),
    "mcl": Reference(
        state={r"^embed_list\.(\d+)\.proj_head\.": r"embed.\1."}, one_call=True, convert_teacher_side=drop_side
    ),
    "okddip": Reference(teacher="extra.peer_logits", options=peers_alpha),
    "okddip_attention": Reference("okddip", options=peers_alpha, derive=add_queries_and_keys),
    "one": Reference(teacher="extra.ensemble_logits", options=EPS),
    "one_gate": Reference("one", teacher="extra.ensemble_logits", options=EPS, derive=add_gated_sum),
    "pcl": Reference(combine=pcl),
}
