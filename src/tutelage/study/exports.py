"""Exports of a leaderboard for papers and programs: Markdown, LaTeX (booktabs), CSV and JSON.

`leaderboard.*` has the figures, of which the same results give the same bytes; `costs.*` has the measured times;
`published.*`, of a study under a published protocol, has the published figures beside ours.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tutelage.errors import plain
from tutelage.study.answers import count_of, label
from tutelage.study.leaderboard import Leaderboard, one_teacher
from tutelage.study.methods import KD
from tutelage.study.protocols.protocol import PublishedFigure
from tutelage.study.published import FollowedProtocol
from tutelage.study.rows import Gain, Row
from tutelage.utils.files import write_text
from tutelage.utils.intervals import Interval

LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "≈": r"$\approx$",
    "±": r"$\pm$", "−": r"$-$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "*": "{*}",
    **{character: f"\\{character}" for character in "{}$&#_%"},
}  # fmt: skip
PLUS_MINUS, TIMES = r"\pm", r"\times"
NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]\d+)?( ± [\d.]+(e[-+]\d+)?)?")
EXPONENT = re.compile(r"e([-+]\d+)")
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&])")
"""The characters that Markdown reads as markup within a line."""

Record = dict[str, Any]
Format = Callable[["Export"], str]


@dataclass(frozen=True)
class Column:
    """A column of a table for people: its head, the cell of a row, and whether cells are numbers."""

    head: str
    cell: Callable[[Row], str]
    is_number: bool = True


@dataclass(frozen=True)
class Export:
    """A table in all formats: columns for people, and for programs the records of rows, nested and flat."""

    board: Leaderboard
    title: str
    about: str
    columns: Sequence[Column]
    record: Callable[[Row], Record]
    flat: Callable[[Row], Record]


def write(board: Leaderboard, root: Path) -> list[Path]:
    """Write all tables in each format into a study's folder, and return their paths.

    Raises: TutelageError if they can't be written.
    """
    paths = []
    tables = {"leaderboard": figures(board), "costs": costs(board)}
    if board.protocol is not None and not board.protocol.full:
        tables["published"] = published(board, board.protocol)
    for name, export in tables.items():
        for suffix, text_of in FORMATS.items():
            paths.append(root / f"{name}.{suffix}")
            write_text(paths[-1], text_of(export))
    return paths


def figures(board: Leaderboard) -> Export:
    """Return the table of the metric, the gains and their verdicts, parameters and MACs."""
    number = Number(board.is_fraction)
    columns = [
        *_names(),
        Column(board.shown_metric + number.unit, lambda row: number(row.mean, row.interval) or _state(row)),
        Column("seeds", lambda row: str(len(row.values))),
    ]
    columns += [*_gain_columns("alone", "alone", number), *_gain_columns("kd", "KD", number)]
    columns += [
        Column("parameters", lambda row: "" if row.parameters is None else f"{row.parameters:,}"),
        Column("MACs, M", lambda row: "" if row.macs is None else f"{row.macs / 1e6:.3g}"),
    ]
    return Export(board, f"{board.metric} by student, teacher and method", describe(board), columns, _nested, _flat)


def costs(board: Leaderboard) -> Export:
    """Return the table of measured times, and of the gain for each minute of training."""
    number = Number(board.is_fraction)
    alone = {row.student: row.cost for row in board.rows if row.role == "alone"}

    def times_alone(row: Row) -> float | None:
        base = alone[row.student].step_ms if row.student in alone else None
        return row.cost.step_ms / base if row.cost.step_ms is not None and base else None

    def rate(row: Row) -> float | None:
        gain, seconds = row.gains.get("alone"), row.cost.seconds
        return 60 * board.better(gain.mean) / seconds if gain and seconds else None

    columns = [
        *_names(),
        Column("all trainings, s", lambda row: _short(row.cost.total_seconds)),
        Column("one training, s", lambda row: _short(row.cost.seconds)),
        Column("step, ms", lambda row: _short(row.cost.step_ms)),
        Column("step / alone's", lambda row: _short(times_alone(row))),
        Column(f"gain a minute{number.points}", lambda row: number(rate(row), None, "+")),
    ]

    sign = "" if board.higher_is_better else f", positive where {board.metric} is less"
    about = f"Times are those of the machine that trained, means over seeds. Gains are over the student alone{sign}."

    def record(row: Row) -> Record:
        return _key(row) | asdict(row.cost) | {"step_of_alone": times_alone(row), "gain_a_minute": rate(row)}

    return Export(board, "measured times", about, columns, record, record)


def published(board: Leaderboard, protocol: FollowedProtocol) -> Export:
    """Return the table of the published figures, ours, and their differences if the two are comparable."""
    number = Number(board.is_fraction)

    def known(row: Row, text: str) -> str:
        """Return a comparison's text, or why there is none."""
        return "" if row.published is None or row.mean is None else text if protocol.is_comparable else "not comparable"

    columns = [
        *_names(),
        Column(f"published{number.unit}", lambda row: _published(row.published, number)),
        Column(f"ours{number.unit}", lambda row: number(row.mean, row.interval)),
        Column("seeds", lambda row: str(len(row.values))),
        Column(f"difference{number.points}", lambda row: known(row, number(row.beyond_published, None, "+"))),
        Column("interval holds it", lambda row: known(row, HOLDS[row.holds_published]), is_number=False),
        Column("source", lambda row: _source(row.published), is_number=False),
    ]

    def record(row: Row) -> Record:
        compared = row if protocol.is_comparable else replace(row, published=None)
        return {
            **_key(row), **_flat_published(row.published), "seeds": len(row.values), "mean": row.mean,
            **_bounds("", row.interval), "difference": compared.beyond_published, "holds": compared.holds_published,
        }  # fmt: skip

    return Export(board, f"{board.metric}, published and ours", protocol.about, columns, record, record)


HOLDS = {True: "yes", False: "no", None: "one seed"}
"""The words for an interval that holds the published figure or doesn't, and for none."""


def _published(figure: PublishedFigure | None, number: Number) -> str:
    """Return a published figure ± its standard deviation, if that is known."""
    if figure is None:
        return ""
    spread = figure.spread
    return number(figure.value, None if spread is None else (figure.value - spread, figure.value + spread))


def _source(figure: PublishedFigure | None) -> str:
    return "nothing is published" if figure is None else "; ".join(filter(None, [str(figure.source), figure.note]))


def _flat_published(figure: PublishedFigure | None) -> Record:
    return {
        "published": figure and figure.value, "published_spread": figure and figure.spread, "source": _source(figure)
    }  # fmt: skip


@dataclass(frozen=True)
class Number:
    """The form of the metric in tables: percent of fractions with two decimals, or five digits."""

    percent: bool

    def __call__(self, value: float | None, bounds: Interval | None = None, sign: str = "") -> str:
        """Return a value ± half of its interval; empty if there is none."""
        if value is None:
            return ""
        half = None if bounds is None else (bounds[1] - bounds[0]) / 2
        scale, form = (100, ".2f") if self.percent else (1, _form_of(max(abs(value), half or 0.0)))
        return f"{scale * value:{sign}z{form}}" + ("" if half is None else f" ± {scale * half:{form}}")

    def gain(self, gain: Gain | None) -> str:
        """Return a gain's mean ± half of its interval; empty if there is none."""
        return "" if gain is None else self(gain.mean, gain.interval, "+")

    @property
    def unit(self) -> str:
        """The unit of values, after a comma."""
        return ", %" if self.percent else ""

    @property
    def points(self) -> str:
        """The unit of differences, after a comma."""
        return ", points" if self.percent else ""


def _form_of(size: float) -> str:
    """Return the form of five digits, with an exponent only for what is tiny or huge."""
    return f".{max(0, 4 - math.floor(math.log10(size)))}f" if 1e-4 <= size < 1e9 else ".5g"


def describe_verdict(gain: Gain | None) -> str:
    """Return a verdict, with about how many seeds would decide an undecided one."""
    if gain is None:
        return ""
    return gain.verdict + (f" (≈ {gain.seeds_to_decide:,} seeds)" if gain.seeds_to_decide else "")


def _names() -> list[Column]:
    texts: dict[str, Callable[[Row], str]] = {
        "student": lambda row: row.student,
        "teacher": lambda row: row.teacher,
        "method": lambda row: row.method or row.role,
    }
    return [Column(head, text, is_number=False) for head, text in texts.items()]


def _gain_columns(name: str, title: str, number: Number) -> list[Column]:
    """Return the columns of the gain over a reference, and of its verdict."""
    return [
        Column(f"over {title}{number.points}", lambda row: number.gain(row.gains.get(name))),
        Column(f"against {title}", lambda row: describe_verdict(row.gains.get(name)), is_number=False),
    ]


def _state(row: Row) -> str:
    """Return why a row has no figure: the state of its trainings, and the first one's reason."""
    first = next(iter(row.unfinished), None)
    if first is None:
        return ""
    return f"{len(row.unfinished)} {first.state}: {' '.join(first.reason.split())}".removesuffix(": ")


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


# records for programs


def _key(row: Row) -> Record:
    return {"role": row.role, "student": row.student, "teacher": row.teacher, "method": row.method}


def _nested(row: Row) -> Record:
    """Return all figures of a row; its times are in the other table."""
    figures = {name: value for name, value in asdict(row).items() if name != "cost"}
    return figures | {"mean": row.mean, "interval": row.interval}


def _flat(row: Row) -> Record:
    """Return the figures of a row at one level."""
    record = _key(row) | {"seeds": len(row.values), "mean": row.mean, **_bounds("", row.interval)}
    for name in ("alone", "kd"):
        record |= _flat_gain(name, row.gains.get(name))
    return record | {"parameters": row.parameters, "macs": row.macs, "unfinished": _state(row)}


def _flat_gain(name: str, gain: Gain | None) -> Record:
    keys = ("mean", "p", "corrected_p", "verdict", "effect", "seeds_to_decide")
    noise = gain.noise if gain else None
    return {
        **{f"{name}_{key}": getattr(gain, key, None) for key in keys},
        **_bounds(f"{name}_", gain.interval if gain else None),
        **_bounds(f"{name}_noise_", noise.interval if noise else None),
    }


def _bounds(prefix: str, interval: Interval | None) -> Record:
    low, high = interval or (None, None)
    return {f"{prefix}low": low, f"{prefix}high": high}


# formats


def to_markdown(export: Export) -> str:
    """Return the table with its title, how to read it, and the command that repeats the study."""
    lines = [
        f"# {escape_markdown(export.board.study)}: {escape_markdown(export.title)}",
        "",
        escape_markdown(export.about),
        "",
        _line(escape_markdown(column.head) for column in export.columns),
        _line("---:" if column.is_number else "---" for column in export.columns),
        *(_line(escape_markdown(column.cell(row)) for column in export.columns) for row in export.board.rows),
        "",
        *([f"    {plain(export.board.command)}", ""] if export.board.command else []),
        escape_markdown(", ".join(f"{name} {version}" for name, version in export.board.versions.items())),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape_markdown(text: str) -> str:
    """Escape a text for Markdown, of which the decimal signs of numbers stay."""
    return MARKDOWN.sub(r"\\\1", plain(text))


def to_latex(export: Export) -> str:
    """Return the table in LaTeX, with the rules of the package booktabs."""
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_latex(export.board.study)}: {_latex(export.title)}. {_latex(export.about)}}}",
        f"\\begin{{tabular}}{{{''.join('r' if column.is_number else 'l' for column in export.columns)}}}",
        "\\toprule",
        _row(_latex(column.head) for column in export.columns),
        "\\midrule",
        *(_row(_latex_cell(column.cell(row)) for column in export.columns) for row in export.board.rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(text: str) -> str:
    """Return a number in math mode, for its sign and its exponent, and other texts escaped."""
    if not NUMBER.fullmatch(text):
        return _latex(text)
    number = text.replace("±", PLUS_MINUS).replace(",", "{,}")
    return f"${EXPONENT.sub(lambda found: f' {TIMES} 10^{{{int(found[1])}}}', number)}$"


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in plain(text))


def to_csv(export: Export) -> str:
    """Return one line for each row, numbers in full."""
    file = io.StringIO()
    records = [export.flat(row) for row in export.board.rows]
    writer = csv.DictWriter(file, list(records[0]) if records else ["role"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


def to_json(export: Export) -> str:
    """Return the study's facts and one record for each row, numbers in full."""
    board = {name: value for name, value in asdict(export.board).items() if name != "rows"}
    rows = [export.record(row) for row in export.board.rows]
    return (
        json.dumps({**board, "comparisons": export.board.comparisons, "rows": rows}, indent=1, allow_nan=False) + "\n"
    )


def describe(board: Leaderboard) -> str:
    """Return how to read the figures: the data, the intervals, and the correction of the verdicts."""
    sizes = ", ".join(f"{board.data[split]} {split}" for split in ("train", "val", "test") if board.data.get(split))
    lower = "" if board.higher_is_better else f"Less {board.metric} is better, so that a gain is negative. "
    judged = "" if board.judged_on == "test" else f"Judged on {board.judged_on} samples. "
    comparisons = count_of(board.comparisons, "comparison")
    under = f" Protocol: {board.protocol.heading}." if board.protocol is not None else ""
    return (
        f"{board.data.get('name', '–')} ({sizes} samples). {judged}{lower}Mean ± half of the 95 % interval over seeds; "
        f"differences are paired by seed. Verdicts by t tests at 5 %, corrected for {comparisons} (Holm)."
        f"{_kd_of_others(board)}{under}"
    )


def _kd_of_others(board: Leaderboard) -> str:
    """Return whose KD rows are compared with, where there are several and it isn't that of their own teacher."""
    if len({row.teacher for row in board.rows if row.method == KD and row.values}) < 2:
        return ""
    found: dict[str, list[str]] = {}
    for row in board.rows:
        if "kd" in row.gains and row.gains["kd"].teacher != one_teacher(row.teacher):
            found.setdefault(row.gains["kd"].teacher, []).append(label(board, row))
    return "".join(f" KD beside {', '.join(rows)} is by {teacher}, the best." for teacher, rows in found.items())


FORMATS: Mapping[str, Format] = {"md": to_markdown, "tex": to_latex, "csv": to_csv, "json": to_json}
