"""The page's tables: the leaderboard, the map of students and methods, the evidence, and what isn't finished."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from tutelage.report.components import (
    Block,
    Cell,
    CellTable,
    Code,
    MissingDataError,
    PropertyList,
    Section,
    SortableTable,
    Text,
    Unit,
    WideTable,
    format_count,
    format_duration,
)
from tutelage.study import exports
from tutelage.study.answers import compared, label, warnings
from tutelage.study.exports import Number, describe
from tutelage.study.leaderboard import Leaderboard
from tutelage.study.rows import Gain, Row

TITLES = {"alone": "alone", "kd": "KD"}
LONG = 32
"""The most letters of a text that isn't wrapped."""


def leaderboard(board: Leaderboard, root: Path) -> Section:
    """Build the sortable table of all rows, with links to the runs' reports, or to why there is none."""
    columns = _columns(board)
    rows = [[cell(row) for cell in columns.values()] for row in board.rows]
    table = SortableTable("All rows", list(columns), rows)
    alerts: list[Block] = [Text(text, "warning") for text in warnings(board)]
    lead = (
        f"{describe(board)} A click on a column's head sorts by it. The best of many gains is partly luck: "
        "train more seeds of the leaders before you rely on its size."
    )
    return Section("Leaderboard", lead, [*alerts, table])


def published(board: Leaderboard, root: Path) -> Section:
    """Build the table of the published figures of the study's protocol, and ours."""
    if board.protocol is None:
        raise MissingDataError("the study has no published protocol")
    title = f"Published and ours: {board.protocol.name}"
    if board.protocol.full:
        return Section(title, f"{board.protocol.heading}.", [])
    export = exports.published(board, board.protocol)
    rows = [[_cell(column, row) for column in export.columns] for row in board.rows]
    return Section(title, export.about, [SortableTable(export.title, [c.head for c in export.columns], rows)])


def _cell(column: exports.Column, row: Row) -> Cell:
    """Return an exported column's cell, which sorts as a number or a text."""
    text = column.cell(row)
    number = re.match(r"[-+]?\d+(\.\d+)?", text) if column.is_number else None
    return _number(text or "–", float(number[0])) if number else _text(text)


def _columns(board: Leaderboard) -> dict[str, Callable[[Row], Cell]]:
    """Return the cells by column; students and teachers have a column where there are several."""
    number = Number(board.is_fraction)
    columns: dict[str, Callable[[Row], Cell]] = {"method": lambda row: _text(row.method or row.role)}
    if len(board.students) > 1:
        columns["student"] = lambda row: _text(row.student)
    if len({row.teacher for row in board.rows if row.teacher}) > 1:
        columns["teacher"] = lambda row: _text(row.teacher)
    columns[board.shown_metric + number.unit] = lambda row: _mean(row, number)
    for name, title in TITLES.items():
        columns |= _gain_columns(name, title, number)
    return columns | {
        "parameters": lambda row: _number(format_count(row.parameters), row.parameters),
        "MACs": lambda row: _number(format_count(row.macs), row.macs),
        "training": lambda row: _number(format_duration(row.cost.seconds), row.cost.seconds),
        "step": lambda row: _number(
            format_duration((row.cost.step_ms or 0) / 1000 if row.cost.step_ms else None), row.cost.step_ms
        ),
        "runs by seed": lambda row: Cell(
            "", len(row.folders), links=[(str(s), report_of(row, s)) for s in row.folders]
        ),
    }


def _mean(row: Row, number: Number) -> Cell:
    """Return the mean ± half of its interval, or a link to why there is none."""
    states = " ".join(dict.fromkeys(trial.state for trial in row.unfinished))
    return (
        _number(number(row.mean, row.interval), row.mean) if row.values else Cell("", links=[(states, "#not-finished")])
    )


def _gain_columns(name: str, title: str, number: Number) -> dict[str, Callable[[Row], Cell]]:
    """Return the columns of the gain over a reference and of its verdict."""

    def gain(row: Row) -> Cell:
        found = row.gains.get(name)
        return _number(number.gain(found), found.mean if found else None)

    return {
        f"over {title}{number.points}": gain,
        f"against {title}": lambda row: _verdict(row.gains.get(name)),
    }


def _verdict(gain: Gain | None) -> Cell:
    """Return a verdict's cell, in its colour."""
    return Cell(gain.verdict, gain.verdict, gain.verdict) if gain else Cell("")


def _text(text: str) -> Cell:
    """Return a text's cell; long texts are wrapped."""
    return Cell(text or "–", text or None, "long" if len(text) > LONG else "")


def _number(text: str, value: float | None) -> Cell:
    """Return a number's cell, with the minus sign."""
    return Cell(re.sub(r"(?<![\de])-(?=[\d.])", "−", text), value)


def report_of(row: Row, seed: int) -> str:
    """Return the address of a run's report, relative to the study's page."""
    return f"./{quote(row.folders[seed])}/report.html"


def heat_map(board: Leaderboard, root: Path) -> Section:
    """Build the map of gains over alone: a row for each method, a column for each pair of student and teacher."""
    rows = compared(board)
    if not rows:
        raise MissingDataError("no method has a gain over its student alone")
    is_several = len({row.teacher for row in rows if row.teacher}) > 1
    pairs = sorted({_pair(row, is_several) for row in rows})
    cells = {(row.method, _pair(row, is_several)): row for row in rows}
    largest = max(abs(row.gains["alone"].mean) for row in rows) or 1.0
    methods = sorted({row.method for row in rows})
    table = CellTable(
        f"Gain over alone{Number(board.is_fraction).points}",
        ["method", *(" ← ".join(filter(None, pair)) for pair in pairs)],
        [[Cell(method), *(_heat(cells.get((method, pair)), largest, board) for pair in pairs)] for method in methods],
    )
    lead = (
        "Green: better than the student alone, red: worse; the stronger, the larger. Bold: decided. Each cell leads to "
        "the report of its first run."
    )
    return Section("Students and methods", lead, [table])


def _pair(row: Row, is_several: bool) -> tuple[str, str]:
    """Return the student and, where there are several, the teacher."""
    return row.student, row.teacher if is_several else ""


def _heat(row: Row | None, largest: float, board: Leaderboard) -> Cell:
    if row is None:
        return Cell("–")
    gain = row.gains["alone"]
    better = board.better(gain.mean)
    style = ("better" if better >= 0 else "worse") + (" decided" if gain.verdict != "undecided" else "")
    text = Unit(board.is_fraction).difference(gain.mean)
    return Cell("", gain.mean, style, [(text, report_of(row, min(row.folders)))], abs(better) / largest)


def evidence(board: Leaderboard, root: Path) -> Section:
    """Build the table of each comparison: the noise of seeds and, apart from it, that of the test set."""
    comparisons = [(row, gain) for row in board.rows for gain in row.gains.values()]
    if not comparisons:
        raise MissingDataError("no row is compared")
    number = Number(board.is_fraction)
    head = [
        "comparison", "verdict", f"gain{number.points}", "p", "p, Holm", "effect size", "seeds to decide",
        f"on other {board.judged_on} samples", "McNemar's p",
    ]  # fmt: skip
    rows = [
        [_text(f"{label(board, row)}, against {TITLES[gain.reference]}"), *_evidence(gain, number)]
        for row, gain in comparisons
    ]
    lead = (
        "Seeds: Student's t over paired differences; the effect size is their mean / spread (Hedges). Seeds to decide: "
        "at a power of 0.8, if mean and spread are as measured; from few seeds a rough number. Other samples: the "
        "95 % interval of the gain of the same trained models (paired bootstrap). McNemar: the p values of his exact "
        "test on the same predictions, the smallest and the largest of the seeds."
    )
    return Section("Evidence", lead, [SortableTable("All comparisons", head, rows)])


def _evidence(gain: Gain, number: Number) -> Sequence[Cell]:
    noise = gain.noise
    low, high = noise.interval if noise else (None, None)
    tests = [*noise.mcnemar.values()] if noise else []
    return [
        _verdict(gain),
        _number(number.gain(gain), gain.mean),
        *(
            _number("–" if value is None else f"{value:.2g}", value)
            for value in (gain.p, gain.corrected_p, gain.effect)
        ),
        Cell(f"{gain.seeds_to_decide:,}" if gain.seeds_to_decide else "–", gain.seeds_to_decide),
        _number(f"{number(low, None, '+')} to {number(high, None, '+')}" if noise else "–", low),
        Cell(" to ".join(f"{p:.2g}" for p in (min(tests), max(tests))) if tests else "–", max(tests, default=None)),
    ]


def unfinished(board: Leaderboard, root: Path) -> Section:
    """Build the table of trainings without a result, and why."""
    seeds: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in board.rows:
        for trial in row.unfinished:
            seeds[label(board, row), trial.state, trial.reason].append(str(trial.seed))
    rows = [[name, ", ".join(of_row), state, reason or "–"] for (name, state, reason), of_row in seeds.items()]
    if not rows and not board.notes:
        raise MissingDataError("every training has its result")
    table = WideTable("Trainings without a result", ["Row", "Seeds", "State", "Reason"], rows)
    notes: list[Block] = [Text(note, "note") for note in board.notes]
    return Section("Not finished", "", [*([table] if rows else []), *notes])


def repeat(board: Leaderboard, root: Path) -> Section:
    """Build the section with the command that repeats the study, and the versions that it had."""
    blocks: list[Block] = [Code("Run it again, in the study's folder", board.command)] if board.command else []
    blocks += [PropertyList("Versions", sorted(board.versions.items()))] if board.versions else []
    if not blocks:
        raise MissingDataError("neither the command nor the versions are known")
    return Section("Repeat the study", "", blocks)
