"""The page's drawings: intervals of gains, the metric over costs with its Pareto front, and learning curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tutelage.report.components import (
    Figure,
    MissingDataError,
    Section,
    Table,
    Unit,
    WideFigure,
    format_count,
    format_duration,
    is_number,
)
from tutelage.report.run_record import read_validation
from tutelage.report.svg_charts import ChartRow, CostPoint, Line, Point, draw_front, draw_gains, draw_lines, format_tick
from tutelage.report.training_sections import average_seeds
from tutelage.study.answers import compared, label, label_of_student
from tutelage.study.exports import describe_verdict
from tutelage.study.leaderboard import Leaderboard
from tutelage.study.rows import Row

STYLES = {"beats": "better", "worse": "worse", "undecided": "undecided"}
CURVES = ("term0", "term2", "term3", "term4", "term5")
"""The styles of the methods' curves: KD, and those of the best means."""


def gains(board: Leaderboard, root: Path) -> Section:
    """Draw the gains over each student alone with their intervals."""
    rows, unit = compared(board), Unit(board.is_fraction)
    if not rows:
        raise MissingDataError("no method has a gain over its student alone")
    figures = []
    for student in dict.fromkeys(row.student for row in rows):
        drawn = [_gain_row(row, label_of_student(board, row)) for row in rows if row.student == student]
        title = f"Gain over {student} alone"
        drawing = draw_gains(title, drawn, f"gain in {board.metric}{unit.points}", unit.difference, unit.difference)
        table = Table(
            title,
            ["Method", "Gain", "95 % interval", "Verdict"],
            [_gain_cells(row, board) for row in rows if row.student == student],
        )
        legend = [("better", "beats"), ("undecided", "undecided"), ("worse", "worse")]
        caption = "Dots: seeds. Vertical bar: their mean. Line: 95 % interval, before the correction."
        figures.append(WideFigure(title, drawing, caption, legend, table))
    return Section("Gains over alone", "Paired by seed; the colour is the corrected verdict.", figures)


def _gain_row(row: Row, name: str) -> ChartRow:
    gain = row.gains["alone"]
    return ChartRow(STYLES[gain.verdict], name, list(gain.values.values()), gain.mean, gain.interval)


def _gain_cells(row: Row, board: Leaderboard) -> list[str]:
    gain, unit = row.gains["alone"], Unit(board.is_fraction)
    bounds = "–" if gain.interval is None else " to ".join(map(unit.difference, gain.interval))
    return [label_of_student(board, row), unit.difference(gain.mean), bounds, describe_verdict(gain)]


def costs(board: Leaderboard, root: Path) -> Section:
    """Draw the metric over the training's time, and over MACs where they differ, with the Pareto fronts."""
    rows = [row for row in board.rows if row.role != "teacher" and row.values]
    kinds: dict[str, tuple[Callable[[Row], float | None], Callable[[float], str]]] = {
        "time of one training": (lambda row: row.cost.seconds, format_duration),
        "MACs of a sample": (lambda row: row.macs, format_count),
    }
    figures = []
    for name, (cost_of, text) in kinds.items():
        known = [(row, cost) for row in rows if (cost := cost_of(row))]
        if len({cost for _, cost in known}) > 1:
            figures.append(_cost_figure(board, name, known, text))
    if not figures:
        raise MissingDataError("the rows don't differ in a known cost")
    lead = "On the Pareto front are the rows that no other one surpasses at the same cost or less."
    return Section("Metric and cost", lead, figures)


def _cost_figure(
    board: Leaderboard, name: str, known: Sequence[tuple[Row, float]], text: Callable[[float], str]
) -> Figure:
    unit = Unit(board.is_fraction)
    points = [
        CostPoint(
            "baseline" if row.role == "alone" else "student", label(board, row), cost, row.mean or 0.0,
            row.role == "alone" or row.method == "kd",
        )
        for row, cost in known
    ]  # fmt: skip
    front = pareto_front(points, board)
    drawing = draw_front(f"{board.metric} over the {name}", points, front, x=name, cost_text=text, tick=unit.tick)
    cells = [
        [p.label, text(p.cost), unit(p.metric), "yes" if p in front else "no"]
        for p in sorted(points, key=lambda p: p.cost)
    ]
    table = Table(f"{board.metric} and {name}", ["Row", "Cost", board.metric, "On the front"], cells)
    legend = [("baseline", "alone"), ("student", "taught")]
    return Figure(f"{board.metric} over the {name}", drawing, "Dashed: the Pareto front.", legend, table)


def pareto_front(points: Sequence[CostPoint], board: Leaderboard) -> list[CostPoint]:
    """Return the points that are better than all cheaper ones, the cheapest first."""
    front: list[CostPoint] = []
    for point in sorted(points, key=lambda p: (p.cost, -board.better(p.metric))):
        if not front or board.better(point.metric) > board.better(front[-1].metric):
            front.append(point)
    return front


def curves(board: Leaderboard, root: Path) -> Section:
    """Draw the validation metric by epoch of each student alone, by KD and by the best methods."""
    figures = [f for student in board.students if (f := _curves_of(board, root, student)) is not None]
    if not figures:
        raise MissingDataError("no metrics.jsonl has validation metrics by epoch")
    best = f"the best {len(CURVES) - 1} other methods by {board.judged_on} {board.metric}"
    lead = f"Means over seeds of the student alone, KD and {best}."
    return Section("Learning curves", lead, figures)


def _curves_of(board: Leaderboard, root: Path, student: str) -> WideFigure | None:
    unit, methods = Unit(board.is_fraction), board.rows_of(student)
    best = [row for row in methods if row.method != "kd"][: len(CURVES) - 1]
    shown = [row for row in methods if row.method == "kd" or row in best][: len(CURVES)]
    styles = dict(zip((row.key for row in shown), CURVES, strict=False))
    series = [
        Line(styles.get(row.key, "baseline"), label_of_student(board, row), points)
        for row in [*board.rows_of(student, "alone"), *shown]
        if (points := validation_curve(row, root, board.metric))
    ]
    if not series:
        return None
    title = f"Validation {board.metric} of {student}"
    drawing = draw_lines(title, series, x="epoch", value_text=unit, tick=unit.tick)
    choose = max if board.higher_is_better else min
    tops = [choose(line.points, key=lambda point: point[1]) for line in series]
    cells = [
        [line.label, unit(line.points[0][1]), unit(top[1]), format_tick(top[0]), unit(line.points[-1][1])]
        for line, top in zip(series, tops, strict=True)
    ]
    table = Table(title, ["Row", "First epoch", "Best", "at epoch", "Last epoch"], cells)
    return WideFigure(title, drawing, "", [(line.style, line.label) for line in series], table)


def validation_curve(row: Row, root: Path, metric: str) -> list[Point]:
    """Return the validation metric by epoch, averaged over a row's seeds; empty if its runs have none."""
    seeds = [
        [point for point in read_validation(root / folder / "student-0", metric) if is_number(point[1])]
        for folder in row.folders.values()
    ]
    known = [points for points in seeds if points]
    return average_seeds(known) if known else []
