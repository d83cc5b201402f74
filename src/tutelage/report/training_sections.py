"""The sections on training: learning curves, losses and gradients."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tutelage.report.components import (
    Block,
    Figure,
    MissingDataError,
    Section,
    Table,
    Text,
    WideFigure,
    format_decimal,
    is_number,
)
from tutelage.report.metrics import norm_ratio
from tutelage.report.run_record import PhaseRecord, RunRecord, validation_points
from tutelage.report.svg_charts import Line, Point, draw_lines, format_tick, needs_log

MAX_NORM_RATIO = 100.0
"""The largest ratio of two terms' gradient norms at which both terms have an effect."""


def curves(run: RunRecord) -> Section:
    """Plot the validation metric and loss by epoch: the mean over seeds, each seed faint, the teacher's level."""
    figures = [f for name in dict.fromkeys([run.metric, "loss"]) if (f := _curve(run, name)) is not None]
    if not figures:
        raise MissingDataError("no metrics.jsonl has validation metrics by epoch")
    return Section("Learning curves", "On the validation split. Faint lines: seeds. Solid line: their mean.", figures)


def _curve(run: RunRecord, name: str) -> Figure | None:
    value_text = run.unit if name == run.metric else format_tick
    tick = run.unit.tick if name == run.metric else format_tick
    series: list[Line] = []
    legend, rows = [], []
    for role in ("baseline", "student"):
        seeds = [points for phase in run.phases_with_role(role) if (points := _validation(phase, name))]
        if not seeds:
            continue
        average = average_seeds(seeds)
        label = run.label(role)
        series += [Line(role, f"{label}, one seed", points, faint=True) for points in seeds if len(seeds) > 1]
        series.append(Line(role, label, average))
        legend.append((role, label))
        best = max if name == run.metric and run.result.get("higher_is_better", True) else min
        top = best(average, key=lambda point: point[1])
        rows.append(
            [label, value_text(average[0][1]), value_text(top[1]), format_tick(top[0]), value_text(average[-1][1])]
        )
    if not series:
        return None
    level = _level(run, name)
    if level is not None:
        legend.append(("teacher", level[1]))
        rows.append([level[1], "–", "–", "–", value_text(level[2])])
    log = needs_log([y for line in series for _, y in line.points]) and name != run.metric
    drawing = draw_lines(
        f"validation {name} by epoch", series, x="epoch", level=level, value_text=value_text, tick=tick, log=log
    )
    head = ["Model", "First epoch", "Best", "at epoch", "Last epoch"]
    scale = "Logarithmic scale." if log else ""
    return Figure(f"Validation {name}", drawing, scale, legend, Table(f"Validation {name}", head, rows))


def _validation(phase: PhaseRecord, name: str) -> list[Point]:
    return [point for point in validation_points(phase.lines("epoch"), name) if is_number(point[1])]


def _level(run: RunRecord, name: str) -> tuple[str, str, float] | None:
    """The teacher's metric on the validation split, as (CSS class, label, value)."""
    values = [v for phase in run.phases_with_role("teacher") if is_number(v := (phase.info.get("val") or {}).get(name))]
    return ("teacher", "Teacher", statistics.fmean(values)) if values else None


def average_seeds(seeds: Sequence[Sequence[Point]]) -> list[Point]:
    """Average y over seeds at each x that all seeds have, or at every x if they have none in common."""
    by_x: dict[float, list[float]] = defaultdict(list)
    for points in seeds:
        for x, y in points:
            by_x[x].append(y)
    common = {x: ys for x, ys in by_x.items() if len(ys) >= len(seeds)} or by_x
    return [(x, statistics.fmean(common[x])) for x in sorted(common)]


def thin_out(points: Sequence[Point], max_points: int = 120) -> list[Point]:
    """Reduce a line to at most `max_points` points, the means of runs of equal length."""
    size = -(-len(points) // max_points)
    runs = [points[i : i + size] for i in range(0, len(points), size)]
    return [(statistics.fmean(x for x, _ in s), statistics.fmean(y for _, y in s)) for s in runs]


def losses(run: RunRecord) -> Section:
    """Plot each term's value by step, and the gradient norm of each weighted term with respect to the student."""
    phases = run.phases_with_role("student") or run.phases_with_role("baseline") or run.phases_with_role("teacher")
    values = _by_name(phases, "step", "losses")
    norms = _by_name(phases, "norms", "norms")
    if not values and not norms:
        raise MissingDataError("no metrics.jsonl has losses or gradient norms")
    blocks: list[Block] = [_term(name, seeds) for name, seeds in values.items()]
    if norms:
        blocks += _gradients(norms, _by_name(phases, "norms", "weights"))
    model = "the student taught" if run.phases_with_role("student") else "the student"
    return Section("Losses and gradients", f"Of {model}, by step; means over seeds.", blocks)


def _by_name(phases: Sequence[PhaseRecord], kind: str, key: str) -> dict[str, list[list[Point]]]:
    """Return each term's points (step, value), by seed."""
    by_name: dict[str, list[list[Point]]] = defaultdict(list)
    for phase in phases:
        of_phase: dict[str, list[Point]] = defaultdict(list)
        for line in phase.lines(kind):
            for name, value in (line.get(key) or {}).items():
                if is_number(value) and is_number(line.get("step")):
                    of_phase[name].append((line["step"], value))
        for name, points in of_phase.items():
            by_name[name].append(sorted(points))
    return dict(by_name)


def _term(name: str, seeds: Sequence[Sequence[Point]]) -> Figure:
    average = thin_out(average_seeds(seeds))
    faint = [Line("student", "one seed", thin_out(points), faint=True) for points in seeds if len(seeds) > 1]
    log = needs_log([y for line in [*faint, Line("", "", average)] for _, y in line.points])
    drawing = draw_lines(f"loss term {name} by step", [*faint, Line("student", name, average)], x="step", log=log)
    row = [name, *(format_decimal(y) for y in (average[0][1], min(y for _, y in average), average[-1][1]))]
    table = Table(f"Loss {name}", ["Term", "First", "Lowest", "Last"], [row])
    return Figure(f"Loss: {name}", drawing, "Logarithmic scale." if log else "", (), table)


def _gradients(norms: dict[str, list[list[Point]]], weights: dict[str, list[list[Point]]]) -> list[Block]:
    typical = {name: statistics.median(y for points in seeds for _, y in points) for name, seeds in norms.items()}
    largest = max(typical.values())
    rows: list[list[Any]] = [
        [name, format_decimal(value), f"{value / largest:.3g}" if largest else "–"]
        for name, value in sorted(typical.items(), key=lambda item: -item[1])
    ]
    head = ["Term", "Median norm", "Fraction of the largest"]
    if weights:  # of the terms whose weight a policy sets
        head.append("Last weight")
        last = {name: statistics.fmean(points[-1][1] for points in seeds) for name, seeds in weights.items()}
        rows = [[*row, format_decimal(last[row[0]]) if row[0] in last else "constant"] for row in rows]
    table = Table("Gradient norms", head, rows)
    series = [
        Line(f"term{i % 6}", name, thin_out(average_seeds(seeds))) for i, (name, seeds) in enumerate(norms.items())
    ]
    values = [y for line in series for _, y in line.points]
    log = min(values) > 0
    drawing = draw_lines("gradient norm of each weighted term by step", series, x="step", log=log)
    caption = "‖∇ weight · term‖ with respect to the student" + (", logarithmic scale." if log else ".")
    legend = [(line.style, line.label) for line in series]
    return [WideFigure("Gradient norms by term", drawing, caption, legend, table), *_warning(typical)]


def _warning(typical: dict[str, float]) -> list[Block]:
    ratio = norm_ratio(typical)
    if ratio <= MAX_NORM_RATIO:
        return []
    large, small = max(typical, key=lambda n: typical[n]), min(typical, key=lambda n: typical[n])
    infinite = ratio == float("inf")
    problem = "has no gradient" if infinite else f"has a gradient {ratio:,.0f} times smaller than that of {large!r}"
    return [
        Text(
            f"The term {small!r} {problem}: it has little effect. Raise its weight, or lower that of {large!r}.",
            "warning",
        )
    ]
