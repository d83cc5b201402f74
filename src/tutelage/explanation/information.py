"""Information in nats: between predictions, labels and each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.explanation.base import Explanation, Words, over_seeds
from tutelage.explanation.calibration import best_temperature
from tutelage.explanation.classes import class_rows, distinct
from tutelage.explanation.opened_run import OpenedRun

ABOUT_LABEL = Words(
    "label",
    "Information about the label",
    "How much of the label's entropy a network's answer resolves, by its prediction alone, and by its probabilities "
    "(usable information: entropy of the label − NLL): the nearer to the entropy, the less is left to teach.",
    "Shannon. Bell System Technical Journal 1948; Xu, Zhao, Song, Stewart, Ermon. A theory of usable information under "
    "computational constraints. ICLR 2020; bias correction: Miller. 1955",
)
SHARED = Words(
    "shared",
    "Information shared with the teacher",
    "Given the label, predictions of teacher and student still share information only if they err alike: more of it "
    "taught than alone is knowledge that came from the teacher and not from the labels.",
    "Cover, Thomas. Elements of information theory. Wiley 2006; Ahn, Hu, Damianou, Lawrence, Dai. Variational "
    "information distillation. CVPR 2019, for distillation as mutual information",
)


def entropy_of(counts: Tensor) -> Tensor:
    """Return the entropy of a table of counts, in nats, with Miller's correction (occupied cells − 1) / 2N."""
    total, occupied = counts.sum(), (counts > 0).sum()
    if total == 0:
        return torch.zeros((), dtype=torch.float64)
    return torch.special.entr(counts.double() / total).sum() + (occupied - 1) / (2 * total)


def counts_of(a: Tensor, b: Tensor, classes: int) -> Tensor:
    """Return the table (C, C) of how often each pair of classes occurs."""
    return torch.bincount(a * classes + b, minlength=classes**2).view(classes, classes)


def mutual_information(a: Tensor, b: Tensor, classes: int) -> float:
    """Return I(A; B) = H(A) + H(B) − H(A, B) of two columns of classes (N,), corrected for its bias, at least 0."""
    table = counts_of(a, b, classes)
    return max(0.0, float(entropy_of(table.sum(1)) + entropy_of(table.sum(0)) - entropy_of(table.flatten())))


def conditional_information(a: Tensor, b: Tensor, given: Tensor, classes: int) -> float:
    """Return I(A; B | Y) = Σ_y p(y) I(A; B | Y = y)."""
    parts = [(given == y) for y in given.unique()]
    return sum(float(of.float().mean()) * mutual_information(a[of], b[of], classes) for of in parts)


def about_label(logits: Tensor, targets: Tensor, temperature: float) -> dict[str, float]:
    """Return the label's entropy, and the information that the prediction and the probabilities have about it."""
    classes = logits.shape[1]
    h = float(entropy_of(torch.bincount(targets, minlength=classes)))
    return {
        "entropy of the label": h,
        "by the prediction": mutual_information(logits.argmax(1), targets, classes),
        "by the probabilities": h - float(F.cross_entropy(logits.double(), targets)),
        "by the probabilities at the best temperature": h
        - float(F.cross_entropy(logits.double() / temperature, targets)),
    }


def shared(student: Tensor, teacher: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the information that the two predictions share, and what of it remains given the label."""
    s, t, classes = student.argmax(1), teacher.argmax(1), student.shape[1]
    return {
        "between the predictions": mutual_information(s, t, classes),
        "of it, given the label": conditional_information(s, t, targets, classes),
    }


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figures of information, on the test split, with temperatures fitted on the validation split."""
    rows, fitted_on = class_rows(opened, "test"), class_rows(opened, "val")
    values = {}
    for role, of_seeds in rows.logits.items():
        pairs = zip(distinct(of_seeds), distinct(fitted_on.logits[role]), strict=True)
        temperatures = [(logits, best_temperature(of_val, fitted_on.targets)) for logits, of_val in pairs]
        values[role] = over_seeds([about_label(logits, rows.targets, t) for logits, t in temperatures])
    each = ", ".join(
        f"{opened.labels[role].lower()} {x['by the probabilities'].mean:.2f}" for role, x in values.items()
    )
    whole = next(iter(values.values()))["entropy of the label"].mean
    shown = [ABOUT_LABEL.as_numbers(opened.labels, values, f"Of {whole:.2f} nats the probabilities resolve: {each}.")]
    if "teacher" in rows.logits:
        shown.append(SHARED.as_numbers(opened.labels, rows.to_teacher(shared), wide=False))
    return shown
