"""The figures of a report: small pure functions of predictions (N, C), targets (N,) and confusions (C, C), sparse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Array = NDArray[np.floating]
Labels = NDArray[np.integer]
Pair = tuple[int, int, float]
"""True class, predicted class, value."""


def agreement(student: Array, teacher: Array) -> float:
    """The share of samples whose most probable class is the same; probabilities (N, C)."""
    return float((student.argmax(1) == teacher.argmax(1)).mean())


def divergence(student: Array, teacher: Array, floor: float = 1e-12) -> float:
    """KL(teacher ‖ student) in nats, averaged over samples; probabilities (N, C), clipped at `floor`."""
    s, t = (np.clip(p.astype(np.float64), floor, 1.0) for p in (student, teacher))
    return float((t * np.log(t / s)).sum(1).mean())


def outcomes(student: Array, teacher: Array, targets: Labels) -> dict[str, float]:
    """The shares of samples that both, one or neither of the two get right."""
    s, t = student.argmax(1) == targets, teacher.argmax(1) == targets
    return {
        "both right": float((s & t).mean()),
        "only the student right": float((s & ~t).mean()),
        "only the teacher right": float((~s & t).mean()),
        "both wrong": float((~s & ~t).mean()),
    }


@dataclass(frozen=True)
class Bin:
    """The samples whose confidence lies in (low, high]: how many, their mean confidence and their accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(probabilities: Array, targets: Labels, bins: int = 15) -> list[Bin]:
    """The samples by confidence max_c p_c, in `bins` equally wide bins; empty bins are left out."""
    confidence, right = probabilities.max(1).astype(np.float64), probabilities.argmax(1) == targets
    edges = np.linspace(0.0, 1.0, bins + 1)
    where = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    members = [where == i for i in range(bins)]
    return [
        Bin(edges[i], edges[i + 1], int(m.sum()), float(confidence[m].mean()), float(right[m].mean()))
        for i, m in enumerate(members)
        if m.any()
    ]


def calibration_error(probabilities: Array, targets: Labels, bins: int = 15) -> float:
    """ECE = Σ_b n_b/N · |accuracy_b − confidence_b|. Guo et al. 2017, arXiv:1706.04599."""
    table = reliability(probabilities, targets, bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in table) / len(targets)


def log_loss(probabilities: Array, targets: Labels, floor: float = 1e-12) -> float:
    """NLL = −mean log p(target), in nats; probabilities are clipped at `floor`."""
    chosen = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.clip(chosen, floor, 1.0)).mean())


def recall(confusion: csr_array) -> Array:
    """The share of each true class that was recognised; NaN for a class that doesn't occur."""
    return _ratio(confusion.diagonal(), confusion.sum(1))


def overlap(confusion: csr_array) -> Array:
    """IoU of each class: hits / (truth ∪ prediction); NaN for a class that is neither true nor predicted."""
    hits = confusion.diagonal()
    return _ratio(hits, confusion.sum(1) + confusion.sum(0) - hits)


def errors(confusion: csr_array) -> csr_array:
    """The share of each true class (row) that was taken for each other class; the diagonal is 0."""
    table = confusion.tocoo()
    wrong = table.row != table.col
    truth, said = table.row[wrong], table.col[wrong]
    return csr_array((table.data[wrong] / confusion.sum(1)[truth], (truth, said)), table.shape)


def largest(values: csr_array, k: int) -> list[Pair]:
    """The k entries of a (C, C) table that are furthest from 0, furthest first; zeros are left out."""
    table = csr_array(values).tocoo()
    order = np.argsort(-np.abs(table.data), kind="stable")[:k]
    found = zip(table.row[order], table.col[order], table.data[order], strict=True)
    return [(int(t), int(p), float(value)) for t, p, value in found if value != 0]


def spread(norms: Mapping[str, float]) -> float:
    """Largest norm / smallest norm: infinite where one is 0, 1 where there is nothing to compare."""
    if not norms or max(norms.values()) == 0:
        return 1.0
    low = min(norms.values())
    return max(norms.values()) / low if low > 0 else float("inf")


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above, np.float64) / np.asarray(below, np.float64)
