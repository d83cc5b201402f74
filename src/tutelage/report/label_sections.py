"""The sections of multi-label runs: each label's average precision, and F1 by threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.report.components import (
    Block,
    MissingDataError,
    Section,
    Table,
    WideFigure,
    WideTable,
    format_decimal,
    format_percent,
)
from tutelage.report.run_record import ROLES, RunRecord
from tutelage.report.svg_charts import Line, draw_bars, draw_lines

SHOWN = 20
"""The most labels of the figure of gains."""

CUTS = np.linspace(0.05, 0.95, 19)
"""The thresholds of the figure."""


def labels(run: RunRecord) -> Section:
    """Compare each label's average precision of the student alone and taught."""
    tables = {role: _mean_table(run, role) for role in ROLES}
    baseline, taught = tables["baseline"], tables["student"]
    if taught is None:
        raise MissingDataError("it needs tables.npz of the student with its labels")
    counted: list[int] = np.flatnonzero(taught[:, 1] > 0).tolist()
    blocks: list[Block] = []
    if baseline is not None:
        gains = taught[:, 2] - baseline[:, 2]
        shown = sorted(sorted(counted, key=lambda i: -abs(gains[i]))[:SHOWN], key=lambda i: -gains[i])
        drawing = draw_bars("gain in AP by label", [(run.class_name(i), float(gains[i])) for i in shown], _points)
        blocks.append(WideFigure("Gain in average precision", drawing, "Taught minus alone, percentage points."))
    head = ["Label", "Samples with it", "AP alone", "AP taught", "Best threshold", "F1 there"]
    rows = [
        [
            run.class_name(i),
            format_decimal(taught[i, 1]),
            "–" if baseline is None else format_percent(baseline[i, 2]),
            format_percent(taught[i, 2]),
            f"{taught[i, 3]:.2f}",
            format_percent(taught[i, 4]),
        ]
        for i in counted
    ]
    blocks.append(WideTable("Average precision by label", head, rows))
    absent = len(taught) - len(counted)
    left_out = f" {absent} label(s) that no {run.judged_on} sample has are left out." if absent else ""
    thresholds = "Thresholds are the best in hindsight, of the student taught."
    lead = f"{run.judged_on.capitalize()} samples, mean over seeds. {thresholds}{left_out}"
    return Section("Labels", lead, blocks)


def thresholds(run: RunRecord) -> Section:
    """Show micro F1 of each model by the threshold of the probability."""
    series, rows = [], []
    for role in ROLES:
        phases = run.phases_with_role(role)
        arrays = phases[0].predictions if phases else {}
        if not {"targets", "probabilities"} <= {*arrays}:
            continue
        points = [(float(cut), micro_f1(arrays["probabilities"], arrays["targets"], cut)) for cut in CUTS]
        series.append(Line(role, run.label(role), points))
        best = max(points, key=lambda point: point[1])
        at_half = next(value for cut, value in points if abs(cut - 0.5) < 1e-9)
        rows.append([run.label(role), format_percent(at_half), f"{best[0]:.2f}", format_percent(best[1])])
    if not series:
        raise MissingDataError("it needs predictions.npz")
    table = Table("Micro F1", ["Model", "At 0.5", "Best threshold", "F1 there"], rows)
    drawing = draw_lines("micro F1 by threshold", series, x="threshold", value_text=format_percent, tick=format_percent)
    legend = [(line.style, line.label) for line in series]
    figure = WideFigure(
        "F1 by threshold", drawing, f"All labels of all {run.judged_on} samples, first seed.", legend, table
    )
    return Section("Thresholds", "A label is predicted where its probability reaches the threshold.", [figure])


def micro_f1(probabilities: Any, targets: Any, threshold: float) -> float:
    """Return F1 of all decisions whose label is known."""
    known = targets >= 0
    chosen, truth = probabilities[known] >= threshold, targets[known] > 0
    both, total = int((chosen & truth).sum()), int(chosen.sum() + truth.sum())
    return 2 * both / total if total else 0.0


def _mean_table(run: RunRecord, role: str) -> Any:
    """Return a role's table of labels, its mean over seeds; None if it has none."""
    tables = [phase.tables["labels"] for phase in run.phases_with_role(role) if "labels" in phase.tables]
    return np.mean(tables, axis=0) if tables else None


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")
