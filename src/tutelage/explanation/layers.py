"""Layers: how similar those of teacher and student are, and which of the teacher's are worth distilling from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.errors import DataError, ModelError
from tutelage.explanation.base import Explanation, NotApplicable, Words
from tutelage.explanation.opened_run import OpenedRun
from tutelage.nn.feature_extractor import FeatureExtractor, eval_no_grad
from tutelage.nn.knowledge_quality import KnowledgeQuality, knowledge_quality
from tutelage.nn.model_profile import ModelProfile, pair_stages, profile_model
from tutelage.report.components import format_decimal
from tutelage.report.svg_charts import draw_heat_map
from tutelage.runs.phase import read_phase
from tutelage.teachers.base import Teacher

COMPARED, JUDGED = 500, 300
"""The most samples whose features are compared, and by which layers are judged."""
KORNBLITH = (
    "Kornblith, Norouzi, Lee, Hinton. Similarity of neural network representations revisited. ICML 2019; with the "
    "unbiased HSIC of Song, Smola, Gretton, Bedo, Borgwardt. JMLR 2012, as in Nguyen, Raghu, Kornblith. ICLR 2021"
)
SIMILARITY = Words(
    "cka_{}",
    "CKA between layers: {}",
    "1 means that both layers arrange the samples alike up to rotation and scale, 0 that they share nothing: where a "
    "layer of the student resembles none of the teacher, features there weren't learned from it.",
    KORNBLITH,
)
QUALITY = Words(
    "quality",
    "Layers to distil from",
    "Q is high for a layer that separates the classes and still varies within each: a loss of features is worth most "
    "from the teacher's layer with the highest Q.",
    "Cooper, Chen, Dwivedy, Gurari. Logit-based losses limit the effectiveness of feature knowledge distillation. "
    "NeurReps workshop 2025",
)


def hsic(k: Tensor, j: Tensor) -> Tensor:
    """Return the HSIC of two Gram matrices (n, n), tr(K H L H) / (n − 1)² with H = 1 − 1/n: biased."""
    a, b = (x - x.mean(0) - x.mean(1, keepdim=True) + x.mean() for x in (k, j))
    return (a * b).sum() / (len(k) - 1) ** 2


def unbiased_hsic(k: Tensor, j: Tensor) -> Tensor:
    """Return the unbiased HSIC of two Gram matrices (n, n), n > 3.

    1/(n(n−3)) · (tr(K'L') + 1ᵀK'1·1ᵀL'1/((n−1)(n−2)) − 2/(n−2)·1ᵀK'L'1), K' and L' without their diagonals.
    """
    n = len(k)
    a, b = (x - x.diag().diag() for x in (k, j))
    terms = (a * b).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (a.sum(0) @ b.sum(1))
    return terms / (n * (n - 3))


def cka(k: Tensor, j: Tensor, measure: Any = unbiased_hsic) -> float:
    """Return HSIC(K, L) / √(HSIC(K, K)·HSIC(L, L)) of Gram matrices; NaN if a layer is the same for every sample."""
    own = measure(k, k) * measure(j, j)
    return float(measure(k, j) / own.sqrt()) if own > 0 else math.nan


def gram(features: Tensor) -> Tensor:
    """Return the Gram matrix (n, n) of features (n, …), centred."""
    x = features.flatten(1).double()
    x = x - x.mean(0)
    return x @ x.T


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figures of layers, of the first seed's networks."""
    if "teacher" not in opened.networks:
        raise NotApplicable("the run has no trained teacher whose layers could be compared")
    profiles = {role: profile_of(opened, networks[0]) for role, networks in opened.networks.items()}
    layers = {role: _layer_names(profile) for role, profile in profiles.items()}
    if not all(layers.values()):
        without = ", ".join(opened.labels[role].lower() for role, names in layers.items() if not names)
        raise NotApplicable(f"no layers are known of {without}")
    grams = {role: _grams(opened, role, names) for role, names in layers.items()}
    shown = [_similarity(opened, role, grams) for role in reversed(opened.students)]
    has_stages = all(profiles[role].stages for role in ("teacher", "student"))
    if has_stages and opened.task.response_kind == "classes" and opened.data.train.labels is not None:
        shown.append(_quality(opened, profiles))
    return shown


def profile_of(opened: OpenedRun, network: nn.Module) -> ModelProfile:
    """Return the profile of a network, a teacher's as it gets the batch."""
    batch = next(iter(opened.batches(opened.part("train", 2)[0], "train", network)))
    return network.profile(batch) if isinstance(network, Teacher) else profile_model(network, batch)


def _layer_names(profile: ModelProfile) -> list[str]:
    """Return the stages and the embedding."""
    return list(dict.fromkeys([*(stage.name for stage in profile.stages), *filter(None, [profile.embedding])]))


def features_of(opened: OpenedRun, network: nn.Module, layer: str, data: DataModule, split: str) -> Tensor:
    """Return a layer's features (n, …) of a split, on the CPU."""
    extractor = None if isinstance(network, Teacher) else FeatureExtractor(network, [layer])
    try:
        with eval_no_grad(network):
            parts = [
                (network(batch, [layer]) if extractor is None else extractor(batch.inputs))[layer].cpu()
                for batch in opened.batches(data, split, network)
            ]
    finally:
        if extractor is not None:
            extractor.close()
    return torch.cat(parts)


def _grams(opened: OpenedRun, role: str, layers: Sequence[str]) -> dict[str, Tensor]:
    network, data = opened.networks[role][0], opened.part("test", COMPARED)[0]
    return {layer: gram(features_of(opened, network, layer, data, "test")) for layer in layers}


def _similarity(opened: OpenedRun, role: str, grams: Mapping[str, Mapping[str, Tensor]]) -> Explanation:
    rows, columns, label = [*grams["teacher"]], [*grams[role]], opened.labels[role].lower()
    samples = len(next(iter(grams[role].values())))
    if samples < 4:
        raise NotApplicable(f"{samples} samples: CKA needs four or more")
    table, biased = (
        [[cka(grams["teacher"][r], grams[role][c], measure) for c in columns] for r in rows]
        for measure in (unbiased_hsic, hsic)
    )
    name, title = SIMILARITY.name.format(role), SIMILARITY.title.format(f"teacher and {label}")
    drawing = draw_heat_map(title, role, table, rows, columns)  # type: ignore[arg-type]
    nearest = _nearest(rows[-1], dict(zip(columns, table[-1], strict=True)), label)
    reading = f"{nearest} {samples} test samples, first seed; rows are the teacher's layers."
    values = {"teacher": rows, role: columns, "cka": table, "biased": biased, "samples": samples}
    written = [[r, *map(format_decimal, line)] for r, line in zip(rows, table, strict=True)]
    words = Words(name, title, SIMILARITY.meaning, SIMILARITY.source)
    return words.as_chart(drawing, [], (["Teacher's layer", *columns], written), values, reading)


def _nearest(last: str, similarities: Mapping[str, float], label: str) -> str:
    """Return in words the layer that is most like the teacher's last."""
    known = {name: value for name, value in similarities.items() if math.isfinite(value)}
    if not known:
        return f"The teacher's last, {last}, or every layer of {label} is the same for every sample: CKA isn't defined."
    nearest = max(known, key=known.__getitem__)
    return f"The teacher's last, {last}, is most like {nearest} of {label} (CKA {known[nearest]:.2f})."


def _quality(opened: OpenedRun, profiles: Mapping[str, ModelProfile]) -> Explanation:
    """Return the quality of both networks' stages, and the pair that it would choose."""
    measured = {role: _measure_stages(opened, role, profiles[role]) for role in ("teacher", "student")}
    student, best = _best_pair(profiles, measured["teacher"])
    used = _compared(opened)
    rows = [
        [f"{opened.labels[role]}: {name}", *map(format_decimal, (q.value, q.separation, q.information, q.efficiency))]
        for role, of_role in measured.items() for name, q in of_role.items()
    ]  # fmt: skip
    own = "; ".join(f"{s} ← {t}" for s, t in used) or "no layers"
    reading = f"It would choose {student} ← {best} (student ← teacher); this run compared {own}."
    values = {role: {n: {"Q": q.value, **vars(q)} for n, q in of_role.items()} for role, of_role in measured.items()}
    head = ["Layer", "Q", "Separation", "Information", "Efficiency"]
    return QUALITY.as_table(head, rows, values | {"chosen": [student, best], "compared": used}, reading)


def _compared(opened: OpenedRun) -> list[list[str]]:
    """Return the pairs of layers, student's and teacher's, that any stage of the first student's training compared."""
    recorded = [read_phase(opened.folder / phase.name / "phase.json").get("pairs", []) for phase in opened.phases]
    return [*map(list, dict.fromkeys(tuple(pair) for pairs in recorded for pair in pairs))]


def choose_pair(opened: OpenedRun) -> tuple[str, str] | None:
    """Return the student's and the teacher's layer that the quality measure chooses; None if it can't be taken.

    It needs labels of classes, and stages in both networks.
    """
    profiles = {role: profile_of(opened, networks[0]) for role, networks in opened.networks.items()}
    has_stages = all(profile.stages for profile in profiles.values())
    if not has_stages or opened.task.response_kind != "classes" or opened.data.train.labels is None:
        return None
    try:
        return _best_pair(profiles, _measure_stages(opened, "teacher", profiles["teacher"]))
    except (DataError, ModelError):  # too few samples of a class, or layers without a row for each sample
        return None


def _measure_stages(opened: OpenedRun, role: str, profile: ModelProfile) -> dict[str, KnowledgeQuality]:
    network = opened.networks[role][0]
    return {stage.name: _measure(opened, network, stage.name) for stage in profile.stages}


def _best_pair(profiles: Mapping[str, ModelProfile], teacher: Mapping[str, KnowledgeQuality]) -> tuple[str, str]:
    best = max(teacher, key=lambda name: teacher[name].value)
    return _partner(profiles, best), best


def _partner(profiles: Mapping[str, ModelProfile], layer: str) -> str:
    """Return the student's stage that pairs with a stage of the teacher: of `auto`, or else of the nearest depth."""
    students, teachers = profiles["student"].stages, profiles["teacher"].stages
    paired = {t.name: s.name for s, t in pair_stages(students, teachers)}
    depth = next(stage.depth for stage in teachers if stage.name == layer)
    return paired.get(layer) or min(students, key=lambda stage: abs(stage.depth - depth)).name


def _measure(opened: OpenedRun, network: nn.Module, layer: str) -> KnowledgeQuality:
    """Return the quality of a layer on training samples, of the classes that have two or more of them."""
    data = opened.part("train", JUDGED)[0]
    features, labels = features_of(opened, network, layer, data, "train"), data.train.labels
    if labels is None or len(labels) != len(features):
        raise ModelError(f"layer {layer!r} has {len(features)} rows of features, not one for each sample")
    known = (torch.bincount(labels) >= 2)[labels]
    return knowledge_quality(features[known], labels[known], len(opened.data.labelled.train))
