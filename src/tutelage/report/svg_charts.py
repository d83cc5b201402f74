"""Charts as inline SVG; colours are CSS classes, so that they follow the page's light or dark scheme."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from tutelage.report.components import escape_text
from tutelage.report.metrics import Array, Bin

Point = tuple[float, float]
WIDTH, HEIGHT = 440.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 428.0, 10.0, 212.0
MAX_DOTS, MAX_NUMBERED, LETTER = 40, 12, 8.8
"""The most points of a line with dots, the most classes of a heat map with numbers, and the width of a letter."""


@dataclass(frozen=True)
class Line:
    """A line through points (x, y) in a CSS class; faint lines are in the background and have no description."""

    style: str
    label: str
    points: Sequence[Point]
    faint: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis that maps values to coordinates on a linear or logarithmic scale, with ticks at 1, 2 and 5."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the range."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)) - 1, math.ceil(math.log10(self.high)) + 1)
            digits = (1, 2, 5) if self.high / self.low < 50 else (1,)
            values = [d * 10.0**p for p in powers for d in digits]
            inside = [v for v in values if self.low * 0.999 <= v <= self.high * 1.001]
            return inside[:: math.ceil(len(inside) / most)] if inside else [self.low, self.high]
        min_step = (self.high - self.low) / (most - 1)
        power = 10.0 ** math.floor(math.log10(min_step))
        step = next(d * power for d in (1, 2, 5, 10) if d * power >= min_step * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def axis_over(values: Sequence[float], start: float, end: float, log: bool = False, margin: float = 0.06) -> Axis:
    """Return an axis that spans all values, with a margin."""
    low, high = min(values), max(values)
    if log:
        gap = max((high / low) ** margin, 1.15)
        return Axis(low / gap, high * gap, start, end, log=True)
    gap = (high - low) * margin or abs(high) * 0.1 or 1.0
    return Axis(low - gap, high + gap, start, end)


def needs_log(values: Sequence[float]) -> bool:
    """Return whether positive values span more than two decades."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > 100


def format_tick(value: float) -> str:
    """Format a tick: 0.05, 2000 → "2k"."""
    if abs(value) >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:.3g}".replace("-", "−")


def draw_lines(
    about: str,
    series: Sequence[Line],
    *,
    x: str,
    level: tuple[str, str, float] | None = None,
    value_text: Callable[[float], str] = format_tick,
    tick: Callable[[float], str] = format_tick,
    log: bool = False,
) -> Markup:
    """Draw lines over x; `level` is a horizontal line (CSS class, label, y)."""
    xs = [p[0] for line in series for p in line.points]
    ys = [p[1] for line in series for p in line.points] + ([level[2]] if level else [])
    across = Axis(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, LEFT, RIGHT)
    up = axis_over(ys, BOTTOM, TOP, log)
    parts = [_grid(across, up, x, tick)]
    if level:
        style, label, y = level
        parts.append(_group(style, f"{label}: {value_text(y)}", [_rule("line level", LEFT, up(y), RIGHT, up(y))]))
    for line in sorted(series, key=lambda s: not s.faint):
        path = "M" + "L".join(f"{across(a):.1f} {up(b):.1f}" for a, b in line.points)
        drawn = [f'<path class="line{" faint" if line.faint else ""}" d="{path}"/>']
        if not line.faint and len(line.points) <= MAX_DOTS:
            titles = [f"{line.label}, {x} {format_tick(a)}: {value_text(b)}" for a, b in line.points]
            drawn += [
                _dot("dot", across(a), up(b), 2.5, title) for (a, b), title in zip(line.points, titles, strict=True)
            ]
        parts.append(_group(line.style, line.label, drawn))
    return _svg(about, WIDTH, HEIGHT, parts)


def _grid(
    across: Axis, up: Axis, x: str, tick: Callable[[float], str], x_tick: Callable[[float], str] = format_tick
) -> str:
    parts = [_rule("axis", LEFT, BOTTOM, RIGHT, BOTTOM), _text((LEFT + RIGHT) / 2, HEIGHT - 4, x, style="name")]
    for v in up.ticks():
        parts += [_rule("grid", LEFT, up(v), RIGHT, up(v)), _text(LEFT - 7, up(v) + 4, tick(v), "end")]
    room = (RIGHT - LEFT) / LETTER / (1 + max(len(x_tick(v)) for v in across.ticks()))
    ticks = across.ticks(max(3, min(6, int(room))))
    return "".join([*parts, *(_text(across(v), BOTTOM + 17, x_tick(v)) for v in ticks)])


@dataclass(frozen=True)
class ChartRow:
    """A model's values by seed, their mean and the interval of the mean."""

    style: str
    label: str
    values: Sequence[float]
    mean: float
    interval: tuple[float, float] | None


def draw_intervals(
    about: str,
    rows: Sequence[ChartRow],
    x: str,
    value_text: Callable[[float], str],
    tick: Callable[[float], str],
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Markup:
    """Draw a row for each model: seeds as dots, the mean as a bar, and the interval of the mean as a line.

    within: the range of possible values; intervals are clipped to it.
    """
    rows = [replace(row, interval=row.interval and _clipped(row.interval, within)) for row in rows]
    left, step = 76.0, 46.0
    bottom = TOP + step * len(rows)
    across = axis_over([v for row in rows for v in (*row.values, row.mean, *(row.interval or ()))], left, RIGHT - 6)
    across = replace(across, low=max(across.low, within[0]), high=min(across.high, within[1]))
    parts = [_text((left + RIGHT) / 2, bottom + 36, x, style="name")]
    for v in across.ticks(5):
        parts += [_rule("grid", across(v), TOP, across(v), bottom), _text(across(v), bottom + 17, tick(v))]
    for i, row in enumerate(rows):
        y, middle = TOP + step * (i + 0.5), across(row.mean)
        low, high = row.interval or (row.mean, row.mean)
        interval = f" ({value_text(low)} to {value_text(high)})" if row.interval else ""
        drawn = [_text(left - 10, y + 4, row.label, "end"), _rule("whisker", across(low), y, across(high), y)]
        drawn += [_dot("seed", across(v), y, 4, value_text(v)) for v in row.values]
        drawn.append(_rule("mean", middle, y - 11, middle, y + 11))
        parts.append(_group(row.style, f"{row.label}: {value_text(row.mean)}{interval}", drawn))
    return _svg(about, WIDTH, bottom + 42, parts)


def _clipped(bounds: tuple[float, float], within: tuple[float, float]) -> tuple[float, float]:
    low, high = (min(max(bound, within[0]), within[1]) for bound in bounds)
    return low, high


def draw_gains(
    about: str, rows: Sequence[ChartRow], x: str, value_text: Callable[[float], str], tick: Callable[[float], str]
) -> Markup:
    """Draw a row for each gain: seeds as dots, the mean as a bar, its interval as a line, and no gain as a rule."""
    labels = [_shorten(row.label, 18) for row in rows]
    left, step = 24 + LETTER * max(map(len, labels)), 26.0
    bottom = TOP + step * len(rows)
    across = axis_over([0.0, *(v for row in rows for v in (*row.values, *(row.interval or ())))], left, RIGHT - 6)
    parts = [_text((left + RIGHT) / 2, bottom + 36, x, style="name")]
    for v in across.ticks(6):
        parts += [_rule("grid", across(v), TOP, across(v), bottom), _text(across(v), bottom + 17, tick(v))]
    parts.append(_rule("axis", across(0), TOP, across(0), bottom))
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y, middle = TOP + step * (i + 0.5), across(row.mean)
        interval = f" ({value_text(row.interval[0])} to {value_text(row.interval[1])})" if row.interval else ""
        drawn = [_text(left - 10, y + 4, label, "end")]
        drawn += [_rule("whisker", across(row.interval[0]), y, across(row.interval[1]), y)] if row.interval else []
        drawn += [_dot("seed", across(v), y, 3, value_text(v)) for v in row.values]
        drawn.append(_rule("mean", middle, y - 8, middle, y + 8))
        parts.append(_group(row.style, f"{row.label}: {value_text(row.mean)}{interval}", drawn))
    return _svg(about, WIDTH, bottom + 42, parts)


@dataclass(frozen=True)
class CostPoint:
    """A model of a cost and a metric, in a CSS class; is_named: whether its label is drawn away from the front too."""

    style: str
    label: str
    cost: float
    metric: float
    is_named: bool = False


def draw_front(
    about: str,
    points: Sequence[CostPoint],
    front: Sequence[CostPoint],
    *,
    x: str,
    cost_text: Callable[[float], str],
    tick: Callable[[float], str],
) -> Markup:
    """Draw metrics over costs, on a logarithmic scale if they are far apart, and the Pareto front as a stepped line.

    Of the points on the front and the named ones, those get their label that have room for it, the front's best first.
    """
    costs = [point.cost for point in points]
    across = axis_over(costs, LEFT, RIGHT - 20, log=min(costs) > 0 and max(costs) / min(costs) > 5, margin=0.12)
    up = axis_over([point.metric for point in points], BOTTOM, TOP + 8)
    parts = [_grid(across, up, x, tick, cost_text)]
    corners = [(across(p.cost), up(p.metric)) for p in front]
    steps = [f"M{corners[0][0]:.1f} {corners[0][1]:.1f}", *(f"H{a:.1f}V{b:.1f}" for a, b in corners[1:])]
    parts.append(_group("student", "Pareto front", [f'<path class="line level" d="{"".join(steps)}"/>']))
    placed: list[Point] = []
    for p in [*reversed(front), *(p for p in points if p not in front)]:
        title = f"{p.label}: {tick(p.metric)}, {cost_text(p.cost)}"
        drawn = [_dot("dot", across(p.cost), up(p.metric), 4, title)]
        is_left = across(p.cost) < (LEFT + RIGHT) / 2
        place = across(p.cost) + (7 if is_left else -7), up(p.metric) - 6
        is_free = all(abs(place[1] - y) > 13 or abs(place[0] - x) > 150 for x, y in placed)
        if (p.is_named or p in front) and is_free:
            placed.append(place)
            drawn.append(_text(*place, _shorten(p.label, 20), "start" if is_left else "end"))
        parts.append(_group(p.style, title, drawn))
    return _svg(about, WIDTH, HEIGHT, parts)


def draw_scatter(about: str, style: str, points: Sequence[Point], *, x: str, y: str) -> Markup:
    """Draw points (x, y) of one unit in a CSS class, and the diagonal on which both are equal."""
    values = [value for point in points for value in point]
    across, up = axis_over(values, LEFT, RIGHT), axis_over(values, BOTTOM, TOP)
    low, high = across.low, across.high
    drawn = [_rule("line level", across(low), up(low), across(high), up(high))]
    drawn += [
        _dot("dot faint", across(a), up(b), 2.0, f"{x} {format_tick(a)}: {y} {format_tick(b)}") for a, b in points
    ]
    return _svg(about, WIDTH, HEIGHT, [_grid(across, up, x, format_tick), _group(style, y, drawn)])


def draw_bars(about: str, values: Sequence[tuple[str, float]], value_text: Callable[[float], str]) -> Markup:
    """Draw a signed horizontal bar for each (label, value)."""
    height = 28.0
    left = 24 + LETTER * min(max(len(label) for label, _ in values), 16)
    numbers = [0.0, *(value for _, value in values)]
    across = axis_over(numbers, left + (52 if min(numbers) < 0 else 12), WIDTH - 52, margin=0.001)
    zero, total = across(0.0), 8 + height * len(values)
    parts = []
    for i, (label, value) in enumerate(values):
        y, end = 4 + height * i, across(value)
        style, anchor, gap = ("worse", "end", -5) if value < 0 else ("better", "start", 5)
        drawn = [
            _text(left, y + 19, _shorten(label, 16), "end"),
            _box("fill", min(zero, end), y + 3, abs(end - zero), 22),
            _text(end + gap, y + 19, value_text(value), anchor),
        ]
        parts.append(_group(style, f"{label}: {value_text(value)}", drawn))
    return _svg(about, WIDTH, total, [*parts, _rule("axis", zero, 2, zero, total - 2)])


def draw_stacked_bars(about: str, rows: Sequence[tuple[str, Sequence[tuple[str, str, float]]]]) -> Markup:
    """Draw a stacked bar for each (label, [(CSS class, name, fraction)]), whose fractions add up to 1."""
    left, step = 76.0, 54.0
    parts = []
    for i, (label, fractions) in enumerate(rows):
        x, y = left, 8 + step * i
        parts.append(_text(left - 10, y + 23, label, "end"))
        for style, name, value in fractions:
            width, text = (RIGHT - left) * value, f"{100 * value:.1f} %"
            drawn = [_box("part", x, y, width, 36)]
            if width > 52:
                drawn.append(_text(x + width / 2, y + 23, text, style="on"))
            parts.append(_group(style, f"{label}, {name}: {text}", drawn))
            x += width
    return _svg(about, WIDTH, 8 + step * len(rows), parts)


def draw_reliability(about: str, style: str, bins: Sequence[Bin]) -> Markup:
    """Draw a reliability diagram: accuracy by confidence, with the diagonal of perfect calibration."""
    left, right, top, bottom = 44.0, 252.0, 8.0, 200.0
    across, up = Axis(0, 1, left, right), Axis(0, 1, bottom, top)
    parts = []
    for v in (0, 0.25, 0.5, 0.75, 1):
        parts += [_rule("grid", left, up(v), right, up(v)), _text(left - 6, up(v) + 4, format_tick(v), "end")]
        parts.append(_text(across(v), bottom + 16, format_tick(v)))
    for b in bins:
        title = f"confidence {b.confidence:.3f}, accuracy {b.accuracy:.3f}, {b.count} samples"
        width = across(b.high) - across(b.low) - 1
        drawn = _box("fill bin", across(b.low) + 0.5, up(b.accuracy), width, bottom - up(b.accuracy))
        parts.append(_group(style, title, [drawn]))
    parts += [_rule("even", left, bottom, right, top), _rule("axis", left, bottom, right, bottom)]
    return _svg(about, 260, 240, [*parts, _text((left + right) / 2, bottom + 35, "confidence", style="name")])


CellMark = tuple[str, float, str, str]
"""The drawing of a cell: its CSS class, opacity, number and title."""


def draw_confusion(about: str, fractions: Array, names: Sequence[str]) -> Markup:
    """Draw a confusion matrix in fractions of each true class (row); errors have their own colour scale."""
    n = len(names)
    wrong = max((float(fractions[t, p]) for t in range(n) for p in range(n) if t != p), default=0.0) or 1.0

    def cell(t: int, p: int) -> CellMark:
        value = float(fractions[t, p])
        style, weight = ("hit", 0.75 * value) if t == p else ("miss", 0.8 * value / wrong)
        number = f"{100 * value:.0f}" if t == p or value >= 0.005 else ""
        return style, weight, number, f"{names[t]} predicted as {names[p]}: {100 * value:.1f} %"

    return _draw_cells(about, names, names, cell)


def draw_heat_map(about: str, style: str, values: Array, rows: Sequence[str], columns: Sequence[str]) -> Markup:
    """Draw a table of numbers as cells in a CSS class, from pale (0 or less) to full (1); NaN is an empty cell."""

    def cell(r: int, c: int) -> CellMark:
        value, name = float(values[r][c]), f"{rows[r]}, {columns[c]}"
        if value != value:
            return style, 0.0, "", f"{name}: undefined"
        return style, min(max(0.8 * value, 0.0), 1.0), f"{value:.2f}".replace("-", "−"), f"{name}: {value:.3f}"

    return _draw_cells(about, rows, columns, cell, height=34.0)


def _draw_cells(
    about: str,
    rows: Sequence[str],
    columns: Sequence[str],
    mark: Callable[[int, int], CellMark],
    height: float | None = None,
) -> Markup:
    """Draw a table of cells; without a height they are squares, and with many columns they have no numbers."""
    labels, feet = ([_shorten(name, 14) for name in names] for names in (rows, columns))
    left, longest = 12 + LETTER * max(map(len, labels)), max(map(len, feet))
    width = (WIDTH - left - 6) / len(columns)
    height = height or width
    rotated, foot = longest * LETTER > width, 6 + height * len(rows)
    parts = []
    for r, label in enumerate(labels):
        y = 6 + height * r
        parts.append(_text(left - 6, y + height / 2 + 4, label, "end"))
        for c in range(len(columns)):
            x, (style, weight, number, title) = left + width * c, mark(r, c)
            drawn = [_box("cell", x, y, width - 1, height - 1, opacity=weight)]
            if len(columns) <= MAX_NUMBERED and number:
                drawn.append(_text(x + width / 2, y + height / 2 + 4, number))
            parts.append(_group(style, title, drawn))
    for c, name in enumerate(feet):
        x = left + width * (c + 0.5)
        parts.append(_text(x + 4 * rotated, foot + 15, name, "end" if rotated else "middle", turn=-90 * rotated))
    return _svg(about, WIDTH, foot + (22 + LETTER * longest if rotated else 24), parts)


def _shorten(text: str, length: int) -> str:
    """Keep a text's beginning and end, since similar names often differ only there."""
    half = length // 2
    return text if len(text) <= length else f"{text[: length - half - 1]}…{text[-half:]}"


def _text(x: float, y: float, text: str, anchor: str = "middle", style: str = "", turn: float = 0) -> str:
    attributes = (f' class="{style}"' if style else "") + (
        f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    )
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attributes}>{escape_text(text)}</text>'


def _rule(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _box(style: str, x: float, y: float, width: float, height: float, opacity: float = 1) -> str:
    attributes = f' fill-opacity="{opacity:.3f}"' if opacity != 1 else ""
    return f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{attributes}/>'


def _dot(style: str, x: float, y: float, radius: float, title: str) -> str:
    return (
        f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"><title>{escape_text(title)}</title></circle>'
    )


def _group(style: str, title: str, drawn: Sequence[str]) -> str:
    return f'<g class="{style}"><title>{escape_text(title)}</title>{"".join(drawn)}</g>'


def _svg(about: str, width: float, height: float, parts: Sequence[str]) -> Markup:
    head = f'<svg viewBox="0 0 {width:g} {height:.0f}" role="img" aria-label="{escape_text(about)}">'
    return Markup(head + "".join(parts) + "</svg>")
