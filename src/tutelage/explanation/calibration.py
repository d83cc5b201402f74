"""Calibration: whether a probability of 80 % is right in 80 % of the cases, and the temperature that mends it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.explanation.base import Explanation, OverSeeds, Words
from tutelage.explanation.classes import ClassRows, class_rows, distinct
from tutelage.explanation.opened_run import OpenedRun
from tutelage.report.components import format_percent
from tutelage.report.metrics import Bin, calibration_error, reliability
from tutelage.report.svg_charts import Line, draw_lines

GUO = "Guo, Pleiss, Sun, Weinberger. On calibration of modern neural networks. ICML 2017"
SCORES = Words(
    "scores",
    "Calibration",
    "ECE is the mean gap between confidence and accuracy, and NLL and the Brier score also count errors: a temperature "
    "above 1 mends a network that is too sure of itself, and changes no prediction.",
    f"{GUO}; Brier. Monthly Weather Review 1950",
)
RELIABILITY = Words(
    "reliability",
    "Reliability",
    "Below the diagonal a network is too sure of itself, above it not sure enough: its probabilities may be used for "
    "decisions only where the two agree.",
    f"{GUO}; DeGroot, Fienberg. The Statistician 1983",
)


def best_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the T that minimises the NLL of softmax(logits / T), between 1/20 and 20.

    The NLL is convex in 1/T: its minimum is found by bisection of its slope, mean(logit of the label − Σ p·logit).
    """
    x = logits.double()
    own = x.gather(1, targets[:, None])[:, 0]
    low, high = 0.05, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        slope = (((x * middle).softmax(1) * x).sum(1) - own).mean()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2 / (low + high)


def brier(logits: Tensor, targets: Tensor) -> float:
    """Return mean Σ_c (p_c − 1[c = y])²."""
    probabilities = logits.double().softmax(1)
    return float((probabilities - F.one_hot(targets, logits.shape[1])).square().sum(1).mean())


def scores(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Return ECE (15 bins), NLL and the Brier score."""
    probabilities = logits.double().softmax(1)
    return {
        "ECE": calibration_error(probabilities.numpy(), targets.numpy()),
        "NLL": float(F.cross_entropy(logits.double(), targets)),
        "Brier score": brier(logits, targets),
    }


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figures of calibration on the test split, with temperatures fitted on the validation split."""
    rows, fitted_on = class_rows(opened, "test"), class_rows(opened, "val")
    return [_scores(opened, rows, fitted_on), _reliability(opened, rows)]


def _scores(opened: OpenedRun, rows: ClassRows, fitted_on: ClassRows) -> Explanation:
    temperatures = fitted_on.of_each(lambda logits, targets: {"best temperature": best_temperature(logits, targets)})
    values = {role: {**before, **temperatures[role]} for role, before in rows.of_each(scores).items()}
    for role, of_seeds in rows.logits.items():
        each = zip(distinct(of_seeds), temperatures[role]["best temperature"].values, strict=True)
        scaled = [scores(logits / t, rows.targets) for logits, t in each]
        values[role] |= {f"{name} at it": OverSeeds([x[name] for x in scaled]) for name in ("ECE", "NLL")}
    found = ", ".join(f"{opened.labels[role].lower()} {x['best temperature'].mean:.2f}" for role, x in values.items())
    reading = f"Best temperature, fitted on {len(fitted_on.targets)} validation rows: {found}."
    return SCORES.as_numbers(opened.labels, values, reading)


def _reliability(opened: OpenedRun, rows: ClassRows) -> Explanation:
    bins = {role: _bins(of_seeds[0], rows.targets) for role, of_seeds in rows.logits.items()}
    labels = opened.labels
    lines = [Line(role, labels[role], [(b.confidence, b.accuracy) for b in of_role]) for role, of_role in bins.items()]
    diagonal = Line("reference", "calibrated", [(0.0, 0.0), (1.0, 1.0)], faint=True)
    by_bin = {role: {b.low: b for b in of_role} for role, of_role in bins.items()}
    table = [
        [f"{low:.1f} to {low + 0.1:.1f}", *(_in_bin(of_role.get(low)) for of_role in by_bin.values())]
        for low in sorted({low for of_role in by_bin.values() for low in of_role})
    ]
    values = {role: [vars(b) for b in of_role] for role, of_role in bins.items()}
    drawing = draw_lines("accuracy by confidence", [diagonal, *lines], x="confidence")
    head = ["Confidence", *(labels[role] for role in bins)]
    legend = [(role, labels[role]) for role in bins]
    reading = "Accuracy by confidence of the first seed's networks, and the number of rows."
    return RELIABILITY.as_chart(drawing, legend, (head, table), values, reading)


def _in_bin(b: Bin | None) -> str:
    return "–" if b is None else f"{format_percent(b.accuracy)} of {b.count}"


def _bins(logits: Tensor, targets: Tensor) -> list[Bin]:
    return reliability(torch.softmax(logits.double(), 1).numpy(), targets.numpy(), 10)
