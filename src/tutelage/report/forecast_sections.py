"""The section of forecasts: some windows' values and forecasts, and the error by time ahead."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.report.components import Block, Figure, MissingDataError, Section, Table
from tutelage.report.run_record import ROLES, RunRecord
from tutelage.report.svg_charts import Line, draw_lines

SHOWN = 4
"""The number of windows that are shown."""


def forecasts(run: RunRecord) -> Section:
    """Show the values that followed some windows, with each model's forecasts, and the errors by time ahead."""
    names = [str(name) for name in run.data.get("values") or []]
    arrays = {
        role: phases[0].predictions
        for role in ROLES
        if (phases := run.phases_with_role(role)) and {"targets", "estimates"} <= {*phases[0].predictions}
    }
    columns = list(dict.fromkeys(name.rpartition("+")[0] for name in names))
    if not arrays or not names:
        raise MissingDataError("it needs predictions.npz with targets and estimates")
    by_role = {role: tuple(_of_first_column(values[key], len(columns)) for key in ("targets", "estimates"))
               for role, values in arrays.items()}  # fmt: skip
    blocks: list[Block] = [_errors(run, by_role, columns[0])]
    targets = next(iter(by_role.values()))[0]
    for number in np.unique(np.linspace(0, len(targets) - 1, SHOWN).round().astype(int)).tolist():
        lines = [Line("both", "Target", _points(targets[number]))]
        lines += [Line(role, run.label(role), _points(values[1][number])) for role, values in by_role.items()]
        drawing = draw_lines(f"{columns[0]} after {run.judged_on} window {number}", lines, x="times ahead")
        legend = [(line.style, line.label) for line in lines]
        blocks.append(
            Figure(f"{run.judged_on.capitalize()} window {number}", drawing, f"{columns[0]} by time ahead.", legend)
        )
    lead = f"The column {columns[0]} after {run.judged_on} windows that are evenly spread over the split (first seed)."
    return Section("Forecasts", lead, blocks)


def _errors(run: RunRecord, by_role: dict[str, Any], column: str) -> Figure:
    """Draw the mean absolute error by time ahead."""
    errors = {role: np.abs(values[1] - values[0]).mean(0) for role, values in by_role.items()}
    lines = [Line(role, run.label(role), _points(values)) for role, values in errors.items()]
    rows = [[step + 1, *(f"{values[step]:.4g}" for values in errors.values())] for step in range(len(lines[0].points))]
    table = Table(f"Mean absolute error of {column}", ["Times ahead", *(line.label for line in lines)], rows)
    drawing = draw_lines(f"Mean absolute error of {column} by time ahead", lines, x="times ahead")
    legend = [(line.style, line.label) for line in lines]
    return Figure(f"Error of {column}", drawing, "Mean absolute error by time ahead.", legend, table)


def _of_first_column(values: Any, columns: int) -> Any:
    """Return the values (N, H) of the first column."""
    return np.asarray(values, float)[:, ::columns]


def _points(values: Any) -> list[tuple[float, float]]:
    return [(float(step + 1), float(value)) for step, value in enumerate(values)]
