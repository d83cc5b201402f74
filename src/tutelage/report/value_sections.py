"""The section of estimated values: estimates over targets, and residuals."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.report.components import Block, Figure, MissingDataError, Section, Table
from tutelage.report.run_record import ROLES, RunRecord
from tutelage.report.svg_charts import draw_scatter

SHOWN = 400
"""The most samples of a figure."""


def estimates(run: RunRecord) -> Section:
    """Show each model's estimates over the targets, and its residuals by size."""
    names = [str(name) for name in run.data.get("values") or []]
    arrays = {
        role: phases[0].predictions
        for role in ROLES
        if (phases := run.phases_with_role(role)) and {"targets", "estimates"} <= {*phases[0].predictions}
    }
    if not arrays or not names:
        raise MissingDataError("it needs predictions.npz with targets and estimates")
    blocks: list[Block] = []
    for number, name in enumerate(names):
        for role, values in arrays.items():
            target, estimate = (np.asarray(values[key], float)[:, number] for key in ("targets", "estimates"))
            blocks.append(_figure(run.label(role), role, name, target, estimate))
    samples = f"{run.judged_on.capitalize()} samples (at most {SHOWN}, evenly spread, first seed)"
    lead = f"{samples}; a perfect model's lie on the dashed line."
    return Section("Estimates", lead, blocks)


def _figure(label: str, role: str, name: str, target: Any, estimate: Any) -> Figure:
    """Draw one model's estimates of one target, with quantiles of the residuals as the table."""
    rows = np.unique(np.linspace(0, len(target) - 1, SHOWN).round().astype(int))
    points = list(zip(target[rows].tolist(), estimate[rows].tolist(), strict=True))
    drawing = draw_scatter(f"{name} estimated over target, {label}", role, points, x=f"target {name}", y="estimate")
    residuals = estimate - target
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    quantiles = [[f"{share:.0%}", f"{np.quantile(residuals, share):.4g}"] for share in shares]
    table = Table(f"Residuals of {name}, {label}", ["Quantile", "Estimate − target"], quantiles)
    return Figure(f"{label}: {name}", drawing, "Estimate over target.", (), table)
