"""The sections on how training went: learning curves, losses and gradients."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tutelage.report.components import Block, Figure, Missing, Section, Table, Text, WideFigure, decimal, is_number
from tutelage.report.metrics import spread
from tutelage.report.run_record import PhaseRecord, RunRecord
from tutelage.report.svg_charts import Line, Point, lines, needs_log, plain

APART = 100.0
"""Terms whose gradients are further apart than this don't act together."""


def curves(run: RunRecord) -> Section:
    """Validation metric and loss by epoch: the mean over seeds, each seed faint behind it, the teacher as a level."""
    figures = [f for name in dict.fromkeys([run.metric, "loss"]) if (f := _curve(run, name)) is not None]
    if not figures:
        raise Missing("no metrics.jsonl holds validation figures by epoch")
    return Section("Learning curves", "On the validation split. Each seed is drawn faint behind the mean.", figures)


def _curve(run: RunRecord, name: str) -> Figure | None:
    say = run.unit if name == run.metric else plain
    tick = run.unit.tick if name == run.metric else plain
    series: list[Line] = []
    legend, rows = [], []
    for role in ("alone", "student"):
        seeds = [points for phase in run.phases_with_role(role) if (points := _validation(phase, name))]
        if not seeds:
            continue
        average = averaged(seeds)
        label = run.label(role)
        series += [Line(role, f"{label}, one seed", points, faint=True) for points in seeds if len(seeds) > 1]
        series.append(Line(role, label, average))
        legend.append((role, label))
        best = max if name == run.metric and run.result.get("higher_is_better", True) else min
        top = best(average, key=lambda point: point[1])
        rows.append([label, say(average[0][1]), say(top[1]), plain(top[0]), say(average[-1][1])])
    if not series:
        return None
    level = _level(run, name)
    if level is not None:
        legend.append(("teacher", level[1]))
        rows.append([level[1], "–", "–", "–", say(level[2])])
    log = needs_log([y for line in series for _, y in line.points]) and name != run.metric
    drawing = lines(f"validation {name} by epoch", series, x="epoch", level=level, say=say, tick=tick, log=log)
    head = ["Model", "First epoch", "Best", "at epoch", "Last epoch"]
    scale = "Logarithmic scale." if log else ""
    return Figure(f"Validation {name}", drawing, scale, legend, Table(f"Validation {name}", head, rows))


def _validation(phase: PhaseRecord, name: str) -> list[Point]:
    lines_of = phase.lines("epoch")
    return [(e["epoch"], e["val"][name]) for e in lines_of if is_number((e.get("val") or {}).get(name))]


def _level(run: RunRecord, name: str) -> tuple[str, str, float] | None:
    """The teacher's own figure on the validation split."""
    values = [
        v for phase in run.phases_with_role("teacher") if is_number(v := (phase.facts.get("val") or {}).get(name))
    ]
    return ("teacher", "Teacher", statistics.fmean(values)) if values else None


def averaged(seeds: Sequence[Sequence[Point]]) -> list[Point]:
    """The mean of y over those seeds that have a given x, where all have it."""
    gathered: dict[float, list[float]] = defaultdict(list)
    for points in seeds:
        for x, y in points:
            gathered[x].append(y)
    full = {x: ys for x, ys in gathered.items() if len(ys) >= len(seeds)} or gathered
    return [(x, statistics.fmean(full[x])) for x in sorted(full)]


def thinned(points: Sequence[Point], most: int = 120) -> list[Point]:
    """At most `most` points: the means of equally long stretches."""
    size = -(-len(points) // most)
    stretches = [points[i : i + size] for i in range(0, len(points), size)]
    return [(statistics.fmean(x for x, _ in s), statistics.fmean(y for _, y in s)) for s in stretches]


def losses(run: RunRecord) -> Section:
    """Each term's value by step, and the gradient of each weighted term with respect to the student."""
    phases = run.phases_with_role("student") or run.phases_with_role("alone") or run.phases_with_role("teacher")
    values = _by_name(phases, "step", "losses")
    norms = _by_name(phases, "norms", "norms")
    if not values and not norms:
        raise Missing("no metrics.jsonl holds losses or gradient norms")
    blocks: list[Block] = [_term(name, seeds) for name, seeds in values.items()]
    if norms:
        blocks += _gradients(norms, _by_name(phases, "norms", "weights"))
    who = "the student taught" if run.phases_with_role("student") else "the student"
    return Section("Losses and gradients", f"Of {who}, by step; a mean over seeds.", blocks)


def _by_name(phases: Sequence[PhaseRecord], kind: str, key: str) -> dict[str, list[list[Point]]]:
    """By term, each seed's points (step, value)."""
    found: dict[str, list[list[Point]]] = defaultdict(list)
    for phase in phases:
        mine: dict[str, list[Point]] = defaultdict(list)
        for line in phase.lines(kind):
            for name, value in (line.get(key) or {}).items():
                if is_number(value) and is_number(line.get("step")):
                    mine[name].append((line["step"], value))
        for name, points in mine.items():
            found[name].append(sorted(points))
    return dict(found)


def _term(name: str, seeds: Sequence[Sequence[Point]]) -> Figure:
    average = thinned(averaged(seeds))
    faint = [Line("student", "one seed", thinned(points), faint=True) for points in seeds if len(seeds) > 1]
    log = needs_log([y for line in [*faint, Line("", "", average)] for _, y in line.points])
    drawing = lines(f"loss term {name} by step", [*faint, Line("student", name, average)], x="step", log=log)
    row = [name, *(decimal(y) for y in (average[0][1], min(y for _, y in average), average[-1][1]))]
    table = Table(f"Loss {name}", ["Term", "First", "Lowest", "Last"], [row])
    return Figure(f"Loss: {name}", drawing, "Logarithmic scale." if log else "", (), table)


def _gradients(norms: dict[str, list[list[Point]]], weights: dict[str, list[list[Point]]]) -> list[Block]:
    typical = {name: statistics.median(y for points in seeds for _, y in points) for name, seeds in norms.items()}
    most = max(typical.values())
    rows: list[list[Any]] = [
        [name, decimal(value), f"{value / most:.3g}" if most else "–"]
        for name, value in sorted(typical.items(), key=lambda item: -item[1])
    ]
    head = ["Term", "Median norm", "Share of the largest"]
    if weights:  # those that a policy sets
        head.append("Last weight")
        last = {name: statistics.fmean(points[-1][1] for points in seeds) for name, seeds in weights.items()}
        rows = [[*row, decimal(last[row[0]]) if row[0] in last else "as given"] for row in rows]
    table = Table("Gradient norms", head, rows)
    series = [Line(f"term{i % 6}", name, thinned(averaged(seeds))) for i, (name, seeds) in enumerate(norms.items())]
    everything = [y for line in series for _, y in line.points]
    log = min(everything) > 0
    drawing = lines("gradient norm of each weighted term by step", series, x="step", log=log)
    caption = "‖∇ weight · term‖ with respect to the student" + (", logarithmic scale." if log else ".")
    legend = [(line.style, line.label) for line in series]
    return [WideFigure("Gradient norms by term", drawing, caption, legend, table), *_warning(typical)]


def _warning(typical: dict[str, float]) -> list[Block]:
    apart = spread(typical)
    if apart <= APART:
        return []
    large, small = max(typical, key=lambda n: typical[n]), min(typical, key=lambda n: typical[n])
    none = apart == float("inf")
    how = "gives no gradient at all" if none else f"has a gradient {apart:,.0f} times smaller than {large!r}"
    return [
        Text(f"The term {small!r} {how}: it hardly teaches. Raise its weight, or lower that of {large!r}.", "warning")
    ]
