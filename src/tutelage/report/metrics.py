"""The report's metrics: pure functions of predictions (N, C), targets (N,) and sparse confusion matrices (C, C)."""

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
    """Return the fraction of samples with the same most probable class; probabilities (N, C)."""
    return float((student.argmax(1) == teacher.argmax(1)).mean())


def divergence(student: Array, teacher: Array, floor: float = 1e-12) -> float:
    """Return KL(teacher ‖ student) in nats, averaged over samples; probabilities (N, C), clipped at `floor`."""
    s, t = (np.clip(p.astype(np.float64), floor, 1.0) for p in (student, teacher))
    return float((t * np.log(t / s)).sum(1).mean())


def outcomes(student: Array, teacher: Array, targets: Labels) -> dict[str, float]:
    """Return the fractions of samples that both, one or neither of the two models classify correctly."""
    s, t = student.argmax(1) == targets, teacher.argmax(1) == targets
    return {
        "both right": float((s & t).mean()),
        "only the student right": float((s & ~t).mean()),
        "only the teacher right": float((~s & t).mean()),
        "both wrong": float((~s & ~t).mean()),
    }


@dataclass(frozen=True)
class Bin:
    """The samples with a confidence in (low, high]: their count, mean confidence and accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(probabilities: Array, targets: Labels, bins: int = 15) -> list[Bin]:
    """Group samples by confidence max_c p_c into `bins` bins of equal width; empty bins are left out."""
    confidence, correct = probabilities.max(1).astype(np.float64), probabilities.argmax(1) == targets
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    members = [bin_index == i for i in range(bins)]
    return [
        Bin(edges[i], edges[i + 1], int(m.sum()), float(confidence[m].mean()), float(correct[m].mean()))
        for i, m in enumerate(members)
        if m.any()
    ]


def calibration_error(probabilities: Array, targets: Labels, bins: int = 15) -> float:
    """Return the ECE = Σ_b n_b/N · |accuracy_b − confidence_b|. Guo et al. 2017, arXiv:1706.04599."""
    table = reliability(probabilities, targets, bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in table) / len(targets)


def log_loss(probabilities: Array, targets: Labels, floor: float = 1e-12) -> float:
    """Return the NLL = −mean log p(target) in nats; probabilities are clipped at `floor`."""
    target_probabilities = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.clip(target_probabilities, floor, 1.0)).mean())


def recall(confusion: csr_array) -> Array:
    """Return the recall of each class; NaN for a class that doesn't occur."""
    return _ratio(confusion.diagonal(), confusion.sum(1))


def iou(confusion: csr_array) -> Array:
    """Return the IoU of each class, hits / (targets ∪ predictions); NaN for a class that is in neither."""
    hits = confusion.diagonal()
    return _ratio(hits, confusion.sum(1) + confusion.sum(0) - hits)


def error_rates(confusion: csr_array) -> csr_array:
    """Return the fraction of each true class (row) that is predicted as each other class; the diagonal is 0."""
    table = confusion.tocoo()
    wrong = table.row != table.col
    targets, predictions = table.row[wrong], table.col[wrong]
    return csr_array((table.data[wrong] / confusion.sum(1)[targets], (targets, predictions)), table.shape)


def largest(values: csr_array, k: int) -> list[Pair]:
    """Return the k entries of a (C, C) table with the largest absolute values, largest first; zeros are left out."""
    table = csr_array(values).tocoo()
    order = np.argsort(-np.abs(table.data), kind="stable")[:k]
    entries = zip(table.row[order], table.col[order], table.data[order], strict=True)
    return [(int(t), int(p), float(value)) for t, p, value in entries if value != 0]


def norm_ratio(norms: Mapping[str, float]) -> float:
    """Return the largest norm / the smallest norm; infinite if one is 0, 1 if there is nothing to compare."""
    if not norms or max(norms.values()) == 0:
        return 1.0
    low = min(norms.values())
    return max(norms.values()) / low if low > 0 else float("inf")


def _ratio(numerator: Array, denominator: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(numerator, np.float64) / np.asarray(denominator, np.float64)
