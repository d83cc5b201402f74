"""Peers that learn together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from saying import Says, chosen, of, picking, stacked
from torch import Tensor

from lessons.lesson import TASK, Lesson, player, seen, wired
from tutelage.player import Player
from tutelage.schemes.base import Scheme
from tutelage.schemes.ensembles import named
from tutelage.schemes.group import Group
from tutelage.schemes.mutual import Mutual
from tutelage.schemes.together import Together
from tutelage.terms import Terms
from tutelage.values import Batch
from tutelage.verify.vector import Vector


def mutual(vector: Vector, kind: Callable[[dict[str, Player]], Scheme] = Mutual) -> Lesson:
    """The published code sums over the others, the paper takes their mean."""
    others = vector.inputs["extra.peer_logits"]
    terms = {"name": "ce"}, {"name": "dml", "eps": 1e-8, "weight": len(others)}
    models = {f"peer{k}": Says(z) for k, z in enumerate([vector.inputs["student_logits"], *others])}
    batch = seen(vector, 0, others.shape[1])
    scheme = wired(kind({name: player(Player, model, *terms) for name, model in models.items()}), batch)
    return Lesson([(scheme, batch)], {"student_logits": of(models["peer0"])}, lambda name: "peer0/" in name)


def together(vector: Vector, models: dict[str, Says], ensemble: str = "none", **options: Any) -> tuple[Any, Batch]:
    batch = seen(vector, 0, len(vector.inputs["target"]))
    terms = Terms.of({"name": vector.method, **options})
    return wired(Together(Group(models, terms, TASK, named(ensemble))), batch), batch


def apart(logits: Tensor, *features: Tensor) -> dict[str, Says]:
    """A network for each of several answers, and of several features."""
    return {f"peer{k}": Says(*said) for k, said in enumerate(zip(logits, *features, strict=True))}


def dml_joint(vector: Vector) -> Lesson:
    """What teaches has a gradient too: a loss of the whole group, so it goes through `together`, not `mutual`."""
    models = apart(vector.inputs["student_logits"])
    return Lesson([together(vector, models, **vector.hyper, eps=1e-7)], {"student_logits": stacked(models)})


def kdcl(vector: Vector) -> Lesson:
    options = {"strength" if name == "lambda" else name: value for name, value in vector.hyper.items()}
    models = apart(vector.inputs["student_logits"])
    return Lesson([together(vector, models, **options)], {"student_logits": stacked(models)})


def one(vector: Vector) -> Lesson:
    """The ensemble's answer is any here, which no gate of these branches gives; a classifier of their features does."""
    logits, spoken = vector.inputs["student_logits"], vector.inputs["extra.ensemble_logits"]
    models = apart(logits, torch.stack([spoken, *torch.zeros_like(logits[1:])]))
    scheme, batch = together(vector, models, "fusion", **vector.hyper, eps=1e-7)
    classes = spoken.shape[1]
    picking(scheme.players["peers"].ensemble.classifier, chosen(len(models) * classes, 0, classes))
    arrive = {"student_logits": stacked(models), "extra.ensemble_logits": of(models["peer0"], "layer1")}
    return Lesson([(scheme, batch)], arrive)


def okddip(vector: Vector) -> Lesson:
    """The features are [query, key, 0 …], of which the projections pick their own."""
    leader, peers = vector.inputs["student_logits"], vector.inputs["extra.peer_logits"]
    query, key = vector.inputs["extra.query"], vector.inputs["extra.key"]
    size = query.shape[2]
    features = torch.cat([query, key, key.new_zeros(*key.shape[:2], 6 * size)], dim=2).transpose(0, 1)
    models = apart(torch.stack([leader, *peers]), torch.stack([torch.zeros_like(features[0]), *features]))
    alpha = vector.hyper["alpha"] * vector.hyper["consistency_weight"]
    how = {"temperature": vector.hyper["temperature"], "alpha": alpha, "eps": 1e-7}
    scheme, batch = together(vector, models, "attention", **how)
    ensemble, others = scheme.players["peers"].ensemble, {n: m for n, m in models.items() if n != "peer0"}
    picking(ensemble.query, chosen(8 * size, 0, size))
    picking(ensemble.key, chosen(8 * size, size, size))
    embedded = stacked(others, "layer1")
    arrive = {
        "student_logits": of(models["peer0"]),
        "extra.peer_logits": stacked(others),
        "extra.query": lambda: embedded().transpose(0, 1)[..., :size],
        "extra.key": lambda: embedded().transpose(0, 1)[..., size : 2 * size],
    }
    return Lesson([(scheme, batch)], arrive)


LESSONS: dict[str, Callable[[Vector], Lesson]] = {
    "dml": mutual,
    "dml_joint": dml_joint,
    "kdcl": kdcl,
    "okddip": okddip,
    "one": one,
}
