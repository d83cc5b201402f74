"""Information in nats: between predictions, labels and each other."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.explanation.base import Explanation, Words, over_seeds
from tutelage.explanation.calibration import best_temperature
from tutelage.explanation.classes import class_rows, distinct
from tutelage.explanation.opened_run import OpenedRun

Array = np.ndarray[Any, Any]

PERMUTATIONS = 20
"""The permutations over which the information of chance is the mean."""
VINH = "Vinh, Epps, Bailey. Information theoretic measures for clusterings comparison. JMLR 2010, for chance's part"
ABOUT_LABEL = Words(
    "label",
    "Information about the label",
    "How much of the label's entropy a network's answer resolves, by its prediction alone, and by its probabilities "
    "(usable information: entropy of the label − NLL): the nearer to the entropy, the less is left to teach. "
    "A value below 0 means that the probabilities foretell the label worse than its frequencies do.",
    "Shannon. Bell System Technical Journal 1948; Xu, Zhao, Song, Stewart, Ermon. A theory of usable information under "
    f"computational constraints. ICLR 2020; {VINH}",
)
SHARED = Words(
    "shared",
    "Information shared with the teacher",
    "Given the label, predictions of teacher and student still share information only if they err alike: more of it "
    "taught than alone is knowledge that came from the teacher and not from the labels. Independent errors give "
    "about 0, by chance also less.",
    "Cover, Thomas. Elements of information theory. Wiley 2006; Ahn, Hu, Damianou, Lawrence, Dai. Variational "
    f"information distillation. CVPR 2019, for distillation as mutual information; {VINH}",
)


def entropy_of(values: Array) -> float:
    """Return the entropy of the frequencies of a column of numbers, in nats; at most ln(numbers that occur)."""
    shares = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(shares * np.log(shares)).sum())


def mutual_information(a: Tensor, b: Tensor, classes: int) -> float:
    """Return I(A; B) of two columns of classes (N,), adjusted for chance as `conditional_information` is."""
    return conditional_information(a, b, torch.zeros_like(a), classes)


def conditional_information(a: Tensor, b: Tensor, given: Tensor, classes: int) -> float:
    """Return I(A; B | Y) of columns of classes (N,), adjusted for chance: h·(I − E) / (h − E).

    E is the mean of I over permutations of B among rows of equal Y, and h = min(H(A | Y), H(B | Y)) is the most that I
    can be: 0 in the mean for columns that are independent given Y, and h for equal ones. Chance also gives values below
    0. Frequencies alone find I ≈ E > 0 in independent columns, and I − E alone misses E of what equal ones share.
    """
    order = given.argsort(stable=True)
    x, y, z = (column[order].numpy() for column in (a, b, given))
    with_x, h_z = z * classes + x, entropy_of(z)
    h_x, h_y = entropy_of(with_x) - h_z, entropy_of(z * classes + y) - h_z
    random = np.random.default_rng(0)
    shuffled = [y[np.lexsort((random.random(len(y)), z))] for _ in range(PERMUTATIONS)]
    measured, *by_chance = (h_x + h_y + h_z - entropy_of(with_x * classes + column) for column in (y, *shuffled))
    most, expected = min(h_x, h_y), fmean(by_chance)
    return most * (measured - expected) / (most - expected) if most - expected > 1e-9 else 0.0


def about_label(logits: Tensor, targets: Tensor, temperature: float) -> dict[str, float]:
    """Return the label's entropy, and the information that the prediction and the probabilities have about it."""
    classes = logits.shape[1]
    h = entropy_of(targets.numpy())
    return {
        "entropy of the label": h,
        "by the prediction": mutual_information(logits.argmax(1), targets, classes),
        "by the probabilities": h - float(F.cross_entropy(logits.double(), targets)),
        "by the probabilities at the best temperature": h
        - float(F.cross_entropy(logits.double() / temperature, targets)),
    }


def shared(student: Tensor, teacher: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the information that the two predictions share, and what they share given the label."""
    s, t, classes = student.argmax(1), teacher.argmax(1), student.shape[1]
    return {
        "between the predictions": mutual_information(s, t, classes),
        "given the label": conditional_information(s, t, targets, classes),
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
        f"{opened.labels[role].lower()} {x['by the probabilities'].mean:.2f}".replace("-", "−")
        for role, x in values.items()
    )
    whole = next(iter(values.values()))["entropy of the label"].mean
    shown = [ABOUT_LABEL.as_numbers(opened.labels, values, f"Of {whole:.2f} nats the probabilities resolve: {each}.")]
    if "teacher" in rows.logits:
        shown.append(SHARED.as_numbers(opened.labels, rows.to_teacher(shared), wide=False))
    return shown
