"""Labels: those that teacher and student both contradict, and how many there are of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tutelage.explanation.base import Explanation, NotApplicable, OverSeeds, Words
from tutelage.explanation.classes import ClassRows, class_rows, distinct
from tutelage.explanation.opened_run import OpenedRun
from tutelage.report.components import format_percent

LISTED, FEW, GROUPS = 50, 20, 3
"""The samples that the page lists, the labels of a class that are few, and groups of classes by their labels."""
LOOK_FIRST = (
    "look at these samples first for wrong labels. Errors that a network has memorised don't show, and one that is "
    "often wrong contradicts right labels too."
)
NOISE = Words(
    "contradicted",
    "Labels that are contradicted",
    "Teacher and student both prefer the same other class with the confidence that they have in that class's own "
    f"samples: {LOOK_FIRST}",
    "Northcutt, Jiang, Chuang. Confident learning. JAIR 2021, for the thresholds",
)
NOISE_OF_ONE = replace(
    NOISE,
    meaning="The student prefers another class with the confidence that it has in that class's own samples: "
    f"{LOOK_FIRST}",
)
COUNTS = Words(
    "counts",
    "Labels of each class",
    "With few labels of a class a student alone can't learn it well, and a teacher's outputs are worth most there.",
    "Liu, Miao, Zhan, Wang, Gong, Yu. Large-scale long-tailed recognition in an open world. CVPR 2019, for accuracy by "
    "the number of labels",
)


def thresholds(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return for each class the mean probability (C,) that its own samples get; 1 for a class without samples."""
    counts = torch.bincount(targets, minlength=probabilities.shape[1])
    own = probabilities.gather(1, targets[:, None])[:, 0]
    sums = torch.zeros(probabilities.shape[1], dtype=own.dtype).index_add(0, targets, own)
    return torch.where(counts > 0, sums / counts.clamp_min(1), torch.ones_like(sums))


def preferred(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return for each row the most probable of the other classes that reach their threshold; -1 without one.

    A row counts only if that class is also more probable than the label.
    """
    reached = probabilities >= thresholds(probabilities, targets)
    other = torch.arange(probabilities.shape[1]) != targets[:, None]
    own = probabilities.gather(1, targets[:, None])
    best = torch.where(reached & other & (probabilities > own), probabilities, -1.0).max(1)
    return torch.where(best.values >= 0, best.indices, -1)


def contradicted(each: Sequence[Tensor], targets: Tensor) -> Tensor:
    """Return for each row the class that all networks prefer to the label, -1 if they don't; each: probabilities."""
    first, *others = (preferred(probabilities, targets) for probabilities in each)
    same = torch.stack([first == other for other in others]).all(0) if others else torch.ones_like(first).bool()
    return torch.where(same, first, -1)


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figures of the training labels."""
    rows = class_rows(opened, "train")
    if len(rows.targets) != rows.seen:
        raise NotApplicable("a sample has labels for many positions")
    if opened.data.labelled.train.labels is None:
        raise NotApplicable("the labels aren't known without reading every sample")
    return [_noise(opened, rows), _counts(opened, opened.data.labelled.train.labels)]


def _noise(opened: OpenedRun, rows: ClassRows) -> Explanation:
    """Return the samples whose labels the teacher and the first taught student contradict; without a teacher, alone."""
    roles = [role for role in ("teacher", "student") if role in rows.logits]
    each = [rows.logits[role][0].double().softmax(1) for role in roles]
    instead = contradicted(each, rows.targets)
    found = (instead >= 0).nonzero()[:, 0]
    sure = torch.stack([p.gather(1, instead.clamp_min(0)[:, None])[:, 0] for p in each]).min(0).values
    found = found[sure[found].argsort(descending=True, stable=True)]
    names = opened.data.classes
    table = [
        [int(rows.samples[i]), names[int(rows.targets[i])], names[int(instead[i])], format_percent(float(sure[i]))]
        for i in found[:LISTED]
    ] or [["none", "–", "–", "–"]]
    share, shown = len(found) / len(rows.targets), min(len(found), LISTED)
    who = " and ".join(
        f"{opened.labels[role].lower()} ({format_percent(float((p.argmax(1) == rows.targets).double().mean()))} right)"
        for role, p in zip(roles, each, strict=True)
    )
    reading = (
        f"{len(found)} of {len(rows.targets):,} training labels ({format_percent(share)}) are contradicted by {who}"
        + (f"; the {shown} surest are listed." if len(found) > shown else ".")
    )
    values = {"share": share, "of": len(rows.targets), "samples": rows.samples[found].tolist(),
              "instead": [names[int(c)] for c in instead[found]]}  # fmt: skip
    words, *columns = (
        (NOISE, "Both prefer", "Smaller probability")
        if len(roles) > 1
        else (NOISE_OF_ONE, "Preferred", "Its probability")
    )
    return words.as_table(["Training sample", "Label", *columns], table, values, reading)


def _counts(opened: OpenedRun, labels: Tensor) -> Explanation:
    """Return the number of labels by class, and the recall of each role by groups of classes with as many."""
    names, counts = opened.data.classes, torch.bincount(labels, minlength=len(opened.data.classes))
    few = [name for name, count in zip(names, counts.tolist(), strict=True) if count < FEW]
    rows, groups = class_rows(opened, "test"), counts.argsort(stable=True).tensor_split(min(GROUPS, len(names)))
    recalls = {
        role: [OverSeeds([_recall(logits, rows.targets, group) for logits in distinct(of_seeds)]) for group in groups]
        for role, of_seeds in rows.logits.items()
    }
    table = [
        [f"{len(group)} classes with {int(counts[group].min())} to {int(counts[group].max())} labels",
         *(recalls[role][k].percent() for role in recalls)]
        for k, group in enumerate(groups)
    ]  # fmt: skip
    ratio = f"{int(counts.max())} labels of the most frequent class, {int(counts.min())} of the rarest"
    reading = (
        f"{ratio}; {len(few)} of {len(names)} classes have fewer than {FEW}. The table has test accuracy by class."
    )
    values: dict[str, Any] = {"labels": dict(zip(names, counts.tolist(), strict=True)), "few": few, "recall": recalls}
    head = ["Classes", *(opened.labels[role] for role in recalls)]
    return COUNTS.as_table(head, table, values, reading, wide=False)


def _recall(logits: Tensor, targets: Tensor, classes: Tensor) -> float:
    """Return the mean over these classes of the share of their rows that are right; NaN if none has rows."""
    right = logits.argmax(1) == targets
    shares = [float(right[targets == c].float().mean()) for c in classes.tolist() if bool((targets == c).any())]
    return sum(shares) / len(shares) if shares else float("nan")
