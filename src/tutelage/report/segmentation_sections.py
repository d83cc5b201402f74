"""The section of a segmentation's classes: each one's overlap and boundary, of every model."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.report.components import Block, MissingDataError, Section, WideTable, format_percent
from tutelage.report.run_record import ROLES, RunRecord


def overlaps(run: RunRecord) -> Section:
    """List each class's share of the pixels and its IoU of each model, and of the last one Dice and boundary F1."""
    tables = {role: table for role in ROLES if (table := _mean_table(run, role, "overlap")) is not None}
    if not tables:
        raise MissingDataError("it needs tables.npz with the overlap of classes")
    last = [*tables][-1]
    pixels, boundary = tables[last][:, 0], _mean_table(run, last, "boundary")
    head = ["Class", "Pixels", *(f"IoU, {run.label(role).lower()}" for role in tables)]
    head += [f"Accuracy, {run.label(last).lower()}", "Dice", *([] if boundary is None else ["Boundary F1"])]
    rows = [
        [
            run.class_name(i),
            format_percent(pixels[i] / max(pixels.sum(), 1)),
            *(format_percent(float(table[i, 1])) for table in tables.values()),
            *(format_percent(float(value)) for value in tables[last][i, 2:]),
            *([] if boundary is None else [format_percent(float(boundary[i, 0]))]),
        ]
        for i in range(len(pixels))
    ]
    blocks: list[Block] = [WideTable("IoU by class", head, rows)]
    absent = int((pixels == 0).sum())
    left_out = (
        f" {absent} class(es) without {run.judged_on} pixels count in no mean unless they are predicted."
        if absent
        else ""
    )
    lead = (
        f"Labelled {run.judged_on} pixels, means over seeds; Dice and boundaries are those of the last model.{left_out}"
    )
    return Section("Classes", lead, blocks)


def _mean_table(run: RunRecord, role: str, name: str) -> Any:
    """Return a role's table, its mean over seeds; None if it has none."""
    tables = [phase.tables[name] for phase in run.phases_with_role(role) if name in phase.tables]
    return np.mean(tables, axis=0) if tables else None
