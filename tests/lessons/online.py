"""Peers that learn together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from saying import Branch, Says, chosen, of, picking, says, stacked
from torch import Tensor, nn

from lessons.lesson import TASK, Lesson, player, seen, wired
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import Scheme
from tutelage.schemes.collaborative import Collaborative
from tutelage.schemes.collaborative_player import CollaborativePlayer
from tutelage.schemes.cross_layer import CrossLayer, CrossLayerPlayer
from tutelage.schemes.mutual import Mutual
from tutelage.schemes.peer_ensembles import create_ensemble
from tutelage.structures import Batch
from tutelage.verify.vector import Vector


def mutual(vector: Vector, kind: Callable[[dict[str, Player]], Scheme] = Mutual) -> Lesson:
    """The published code sums over the other peers; the paper takes their mean."""
    peer_logits = vector.inputs["extra.peer_logits"]
    terms = {"name": "ce"}, {"name": "dml", "eps": 1e-8, "weight": len(peer_logits)}
    models = {f"peer{k}": Says(z) for k, z in enumerate([vector.inputs["student_logits"], *peer_logits])}
    batch = seen(vector, 0, peer_logits.shape[1])
    scheme = wired(kind({name: player(Player, model, *terms) for name, model in models.items()}), batch)
    return Lesson([(scheme, batch)], {"student_logits": of(models["peer0"])}, lambda name: "peer0/" in name)


def together(
    vector: Vector,
    models: dict[str, Any],
    *terms: Any,
    ensemble: str = "none",
    split: str | None = None,
    **settings: Any,
) -> tuple[Any, Batch]:
    """Wire a scheme of several students with these terms, and return it with its batch."""
    batch = seen(vector, 0, len(vector.inputs["target"]))
    return wired(
        Collaborative(
            CollaborativePlayer(models, Terms.from_method(terms), TASK, create_ensemble(ensemble), split), **settings
        ),
        batch,
    ), batch


def apart(logits: Tensor, *features: Tensor) -> dict[str, Says]:
    """Create one network per set of logits and features."""
    return {f"peer{k}": Says(*outputs) for k, outputs in enumerate(zip(logits, *features, strict=True))}


def dml_joint(vector: Vector) -> Lesson:
    """The targets have a gradient too: it is a loss of the group, so it goes through `together`, not `mutual`."""
    models = apart(vector.inputs["student_logits"])
    term = {"name": "dml_joint", **vector.hyper, "eps": 1e-7}
    return Lesson([together(vector, models, term)], {"student_logits": stacked(models)})


def cl_ilr(vector: Vector) -> Lesson:
    """The published code has a gradient through the targets."""
    models = apart(vector.inputs["student_logits"])
    term = {"name": "dml_joint", "pairwise": False, "eps": 1e-7, **vector.hyper}
    return Lesson([together(vector, models, term)], {"student_logits": stacked(models)})


def kdcl(vector: Vector) -> Lesson:
    options = {"strength" if name == "lambda" else name: value for name, value in vector.hyper.items()}
    models = apart(vector.inputs["student_logits"])
    return Lesson([together(vector, models, {"name": "kdcl", **options})], {"student_logits": stacked(models)})


def fused(vector: Vector, logits: Tensor, name: str, *terms: Any, **options: Any) -> Lesson:
    """The ensemble's logits are arbitrary: a student's feature has them, and the fusion classifier picks them."""
    ensemble_logits = vector.inputs[name]
    classes = ensemble_logits.shape[1]
    models = apart(logits, torch.stack([ensemble_logits, *torch.zeros_like(logits[1:])]))
    scheme, batch = together(vector, models, *terms, ensemble="fusion", **options)
    picking(
        scheme.players["peers"].ensemble.classifier,
        chosen(len(models) * classes, 0, classes),
    )
    for model, now in zip(models.values(), vector.inputs["student_logits"], strict=True):
        says(model, now)
    return Lesson([(scheme, batch)], {"student_logits": stacked(models), name: of(models["peer0"], "layer1")})


def one(vector: Vector) -> Lesson:
    term = {"name": "one", **vector.hyper, "eps": 1e-7}
    return fused(vector, vector.inputs["student_logits"], "extra.ensemble_logits", term)


def ffl(vector: Vector) -> Lesson:
    term = {"name": "ffl", **vector.hyper, "eps": 1e-7}
    return fused(vector, vector.inputs["student_logits"], "teacher_logits", term)


def pcl(vector: Vector) -> Lesson:
    """The students output the averages' logits when the averages began."""
    weight, temperature = vector.hyper["w"], vector.hyper["temperature"]
    terms = (
        {"name": "one", "temperature": temperature, "consistency_weight": weight},
        {"name": "kd", "temperature": temperature, "weight": weight},
    )
    return fused(vector, vector.inputs["extra.average_logits"], "teacher_logits", *terms, average=0.999)


def learned(vector: Vector, module: nn.Module, names: Mapping[str, str]) -> dict[str, Callable[[], Tensor]]:
    """Load the vector's weights into a module, and return their gradients; names: the vector's to the module's."""
    gradients = {}
    for path, tensor in vector.under("parameters").items():
        owner, _, name = path.rpartition(".")
        parameter = module.get_submodule(names[owner]).get_parameter(name)
        parameter.data.copy_(tensor)
        gradients[f"parameters.{path}"] = lambda p=parameter: p.grad
    return gradients


def one_gate(vector: Vector) -> Lesson:
    trunk = vector.inputs["extra.trunk"]
    models = {f"peer{k}": Branch(trunk, z) for k, z in enumerate(vector.inputs["student_logits"])}
    term = {"name": "one", "eps": 1e-7, **vector.hyper}
    scheme, batch = together(vector, models, term, ensemble="gate", split="answer")
    gate = scheme.players["peers"].ensemble
    arrive = learned(vector, gate, {"control_v1": "gate", "bn_v1": "norm"})
    arrive |= {"student_logits": stacked(models), "extra.trunk": of(models["peer0"], "layer1")}
    return Lesson([(scheme, batch)], arrive)


def okddip_attention(vector: Vector) -> Lesson:
    leader, peers, embedded = (vector.inputs[name] for name in ("student_logits", "teacher_logits", "extra.embeddings"))
    models = apart(torch.stack([leader, *peers]), torch.stack([torch.zeros_like(embedded[0]), *embedded]))
    term = {"name": "okddip", "eps": 1e-7, **vector.hyper}
    scheme, batch = together(vector, models, term, ensemble="attention")
    arrive = learned(vector, scheme.players["peers"].ensemble, {"query_weight": "query", "key_weight": "key"})
    peers_of_leader = {n: m for n, m in models.items() if n != "peer0"}
    gradients = {"student_logits": of(models["peer0"]), "teacher_logits": stacked(peers_of_leader)}
    return Lesson([(scheme, batch)], arrive | gradients | {"extra.embeddings": stacked(peers_of_leader, "layer1")})


def ffl_fusion(vector: Vector) -> Lesson:
    models = {
        f"peer{k}": Says(*said)
        for k, said in enumerate(zip(vector.inputs["student_logits"], vector.side("student_features"), strict=True))
    }
    scheme, batch = together(vector, models, {"name": "ffl", **vector.hyper}, ensemble="feature_fusion")
    names = {"conv1": "fuse.0", "bn1": "fuse.1", "conv1_1": "fuse.3", "bn1_1": "fuse.4", "fc2": "classifier"}
    arrive = learned(vector, scheme.players["peers"].ensemble, names) | {"student_logits": stacked(models)}
    maps = {f"student_features.{k}": of(model, "layer1") for k, model in enumerate(models.values())}
    return Lesson([(scheme, batch)], arrive | maps)


def mcl(vector: Vector) -> Lesson:
    features = vector.side("student_features")
    models = apart(torch.zeros(len(features), len(features[0]), 4, dtype=torch.float64), torch.stack(features))
    scheme, batch = together(vector, models, {"name": "mcl", **vector.hyper})
    loss = scheme.players["peers"].embedding_terms["mcl"].loss
    owners = {name.rpartition(".")[0] for name in vector.under("parameters")}
    arrive = learned(vector, loss, {o: re.sub(r"^embed_list\.(\d+)\.proj_head", r"embed.\1", o) for o in owners})
    return Lesson(
        [(scheme, batch)],
        arrive | {f"student_features.{k}": of(model, "layer1") for k, model in enumerate(models.values())},
    )


def dcm(vector: Vector) -> Lesson:
    """The heads of the shallow layers pass their inputs on."""
    sides = {"peer0": vector.inputs["student_logits"], "peer1": vector.inputs["teacher_logits"]}
    layers = [f"layer{k}" for k in range(1, len(sides["peer0"]))]
    models = {name: Says(z[-1], *z[:-1], torch.zeros_like(z[-1])) for name, z in sides.items()}
    term = {"name": "dcm", "eps": 1e-8, **vector.hyper}
    batch = seen(vector, 0, len(vector.inputs["target"]))
    peers = {name: CrossLayerPlayer(model, Terms.from_method(term), TASK, layers) for name, model in models.items()}
    scheme = wired(CrossLayer(peers), batch)
    classes = sides["peer0"].shape[2]
    for peer in peers.values():
        for head in peer.heads:
            head.bottleneck = nn.Identity()
            picking(head.fc, chosen(classes, 0, classes))
    first = models["peer0"]
    arrive = {"student_logits": lambda: torch.stack([*(of(first, layer)() for layer in layers), of(first)()])}
    return Lesson([(scheme, batch)], arrive, lambda name: "peer0/" in name)


def okddip(vector: Vector) -> Lesson:
    """The features are [query, key, 0 …], of which each projection picks its part."""
    leader, peers = vector.inputs["student_logits"], vector.inputs["extra.peer_logits"]
    query, key = vector.inputs["extra.query"], vector.inputs["extra.key"]
    size = query.shape[2]
    features = torch.cat([query, key, key.new_zeros(*key.shape[:2], 6 * size)], dim=2).transpose(0, 1)
    models = apart(torch.stack([leader, *peers]), torch.stack([torch.zeros_like(features[0]), *features]))
    alpha = vector.hyper["alpha"] * vector.hyper["consistency_weight"]
    term = {"name": "okddip", "temperature": vector.hyper["temperature"], "alpha": alpha, "eps": 1e-7}
    scheme, batch = together(vector, models, term, ensemble="attention")
    ensemble, peers_of_leader = scheme.players["peers"].ensemble, {n: m for n, m in models.items() if n != "peer0"}
    picking(ensemble.query, chosen(8 * size, 0, size))
    picking(ensemble.key, chosen(8 * size, size, size))
    embedded = stacked(peers_of_leader, "layer1")
    arrive = {
        "student_logits": of(models["peer0"]),
        "extra.peer_logits": stacked(peers_of_leader),
        "extra.query": lambda: embedded().transpose(0, 1)[..., :size],
        "extra.key": lambda: embedded().transpose(0, 1)[..., size : 2 * size],
    }
    return Lesson([(scheme, batch)], arrive)


LESSONS: dict[str, Callable[[Vector], Lesson]] = {
    "cl_ilr": cl_ilr,
    "dcm": dcm,
    "dml": mutual,
    "dml_joint": dml_joint,
    "ffl": ffl,
    "ffl_fusion": ffl_fusion,
    "kdcl": kdcl,
    "mcl": mcl,
    "okddip": okddip,
    "okddip_attention": okddip_attention,
    "one": one,
    "one_gate": one_gate,
    "pcl": pcl,
}
