"""Agreement of outputs that aren't one class among several: values, label sets, scores, vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.explanation.base import Explanation, NotApplicable, Words, over_seeds
from tutelage.explanation.dark_knowledge import spearman
from tutelage.explanation.layers import cka, gram
from tutelage.explanation.opened_run import OpenedRun

COMPARED = 2000
"""The most rows whose arrangement is compared."""
VALUES = Words(
    "values",
    "Agreement of outputs",
    "How much of the teacher's variation the student reproduces (1: all), and whether they err alike: common errors "
    "beyond those of the student alone came from the teacher.",
    "Saputra, de Gusmao, Almalioglu, Markham, Trigoni. Distilling knowledge from a deep pose regressor network. ICCV "
    "2019, for imitation of estimates; Pearson 1895; Spearman 1904",
)
VECTORS = Words(
    "vectors",
    "Agreement of vectors",
    "Whether teacher and student arrange the samples alike (CKA, 1: up to rotation and scale), whatever their sizes.",
    "Kornblith, Norouzi, Lee, Hinton. Similarity of neural network representations revisited. ICML 2019",
)


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Return the correlation of each column of two tables (N, C); 0 where one is constant."""
    a, b = (z.double() - z.double().mean(0) for z in (x, y))
    return (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp_min(1e-12)


def explained(student: Tensor, teacher: Tensor) -> float:
    """Return 1 − Σ(s − t)² / Σ(t − t̄)², over all columns."""
    s, t = student.double(), teacher.double()
    return float(1 - (s - t).square().sum() / (t - t.mean(0)).square().sum().clamp_min(1e-300))


def value_agreement(student: Tensor, teacher: Tensor, targets: Tensor | None) -> dict[str, float]:
    """Return the explained variation, correlations, and the correlation of the errors; rows (N, C)."""
    values = {
        "explained": explained(student, teacher),
        "Pearson": float(pearson(student, teacher).mean()),
        "Spearman": float(spearman(student.T, teacher.T).mean()),
    }
    if targets is None or targets.shape != teacher.shape or not targets.is_floating_point():
        return values
    known = targets.isfinite()
    errors = [torch.where(known, x - targets, 0) for x in (student, teacher)]
    columns = [c for c in range(targets.shape[1]) if known[:, c].sum() > 1]
    each = [pearson(*(x[known[:, c], c, None] for x in errors)) for c in columns]
    return {**values, "correlation of errors": float(torch.cat(each).mean())} if each else values


def label_agreement(student: Tensor, teacher: Tensor, targets: Tensor | None) -> dict[str, float]:
    """Return the agreement of the probabilities of independent labels, and the share on the same side of 1/2."""
    same = float(((student > 0) == (teacher > 0)).float().mean())
    return {"same label": same, **value_agreement(student.sigmoid(), teacher.sigmoid(), targets)}


def vector_agreement(student: Tensor, teacher: Tensor) -> dict[str, float]:
    """Return the CKA of two sides' vectors, and the mean cosine of those of equal size."""
    rows = torch.linspace(0, len(student) - 1, min(len(student), COMPARED)).long()
    values = {"CKA": cka(gram(student[rows]), gram(teacher[rows]))}
    if student.shape == teacher.shape:
        values["cosine"] = float(torch.cosine_similarity(student, teacher, dim=1).mean())
    return values


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figure of outputs, on the test split."""
    kind = opened.task.response_kind
    if kind == "classes" and not opened.data.columns:
        raise NotApplicable("its outputs are classes, which agreement compares above")
    if "teacher" not in opened.networks:
        raise NotApplicable("the run has no trained teacher to compare with")
    rows = opened.responses("test")
    teachers = rows.by_role["teacher"]
    if kind in ("embedding", "features"):
        of_vectors = {
            role: over_seeds([vector_agreement(*pair) for pair in zip(rows.by_role[role], teachers, strict=True)])
            for role in opened.students
        }
        return [VECTORS.as_numbers(opened.labels, of_vectors, f"{len(teachers[0])} test rows.")]
    measure = label_agreement if kind == "labels" else value_agreement
    values = {
        role: over_seeds([
            measure(*pair, rows.targets) for pair in zip(rows.by_role[role], teachers, strict=True)
        ])
        for role in opened.students
    }  # fmt: skip
    return [VALUES.as_numbers(opened.labels, values, f"{len(teachers[0])} test rows of {kind}.")]
