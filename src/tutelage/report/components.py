"""The blocks of a page, and the format of its numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeGuard

from markupsafe import Markup, escape

from tutelage.errors import plain

NB = "\u00a0"
"""A no-break space, between a number and its unit."""

INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and newline, direction marks, and surrogates."""


@dataclass(frozen=True)
class Block:
    """A block of a section; `kind` is the macro that renders it, `wide` means the whole width."""

    kind: ClassVar[str]
    wide: ClassVar[bool] = False


@dataclass(frozen=True)
class Table(Block):
    """Rows under a header; the first column names the row; note: a text below them."""

    kind = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class WideTable(Table):
    """A table over the whole width."""

    wide = True


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, the value that it is sorted by, a CSS class, and links as (text, address).

    weight: how strongly the cell has the class's colour, from 0 to 1; None: only its text has it.
    """

    text: str
    value: float | str | None = None
    style: str = ""
    links: Sequence[tuple[str, str]] = ()
    weight: float | None = None


@dataclass(frozen=True)
class CellTable(Block):
    """A table of cells over the whole width; the first column names the row."""

    kind = "cells"
    wide = True
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class SortableTable(CellTable):
    """A table whose rows are sorted by a click on a column's head."""

    kind = "sortable"


@dataclass(frozen=True)
class PropertyList(Block):
    """A list of (name, value) pairs."""

    kind = "properties"
    wide = True
    title: str
    properties: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Figure(Block):
    """A chart with its legend, as (CSS class, label), and the same numbers as a table."""

    kind = "figure"
    title: str
    drawing: Markup
    caption: str = ""
    legend: Sequence[tuple[str, str]] = ()
    table: Table | None = None


@dataclass(frozen=True)
class WideFigure(Figure):
    """A chart with its table next to it."""

    wide = True


@dataclass(frozen=True)
class Text(Block):
    """A paragraph; `tone` is "", "warning" or "note"."""

    kind = "text"
    wide = True
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Code(Block):
    """Code to copy."""

    kind = "code"
    wide = True
    title: str
    text: str


@dataclass(frozen=True)
class SummaryCard(Block):
    """The summary of a model: a large number, the text below it, and (name, value) pairs."""

    kind = "card"
    style: str
    title: str
    model: str
    value: str
    details: str
    properties: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ImageBlock(Block):
    """An example image and each model's prediction, as (CSS class, model, class, probability, correct)."""

    kind = "picture"
    source: str
    alt: str
    target: str
    predictions: Sequence[tuple[str, str, str, str, bool]]


@dataclass(frozen=True)
class MaskBlock(Block):
    """An example image and its masks, as (label, source, alt)."""

    kind = "masks"
    wide = True
    images: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class LegendBlock(Block):
    """A legend of colours, as (colour, name)."""

    kind = "legend"
    wide = True
    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class CollapsedTable(Block):
    """A collapsed table that opens on click."""

    kind = "collapsed"
    wide = True
    table: Table


@dataclass(frozen=True)
class Section:
    """A heading, a sentence on how to read the section, and its blocks."""

    title: str
    lead: str = ""
    blocks: Sequence[Block] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The anchor of the section's heading."""
        return self.title.lower().replace(" ", "-")


class MissingDataError(Exception):
    """Raised by a section that has nothing to show; the message gives the reason."""


@dataclass(frozen=True)
class Unit:
    """The format of the main metric: percentages, or four significant digits."""

    percent: bool

    @classmethod
    def of(cls, values: Iterable[float], higher_is_better: bool) -> Unit:
        """Return the unit of these values: percentages if higher is better and all lie between 0 and 1."""
        return cls(higher_is_better and all(0 <= value <= 1 for value in values))

    def __call__(self, value: Any) -> str:
        """Format a value with its unit; a dash if it isn't a number."""
        if not is_number(value):
            return "–"
        return (f"{100 * value:.1f}{NB}%" if self.percent else f"{value:.4g}").replace("-", "−")

    def difference(self, value: Any) -> str:
        """Format a difference with its sign; a dash if it isn't a number."""
        if not is_number(value):
            return "–"
        text = f"{100 * value:+z.2f}" if self.percent else f"{value:+z.3g}"
        return text.replace("-", "−")

    @property
    def points(self) -> str:
        """The unit after a difference."""
        return " points" if self.percent else ""

    def interval(self, bounds: Any) -> str:
        """Format an interval as "low to high", clipped to 0 … 100 % for percentages; empty if there is none."""
        if not is_interval(bounds):
            return ""
        low, high = (min(max(bound, 0), 1) if self.percent else bound for bound in bounds)
        return f"{self(low).removesuffix(f'{NB}%')} to {self(high)}"

    def tick(self, value: float) -> str:
        """Format a tick of an axis."""
        return (f"{100 * value:.3g}{NB}%" if self.percent else f"{value:.3g}").replace("-", "−")


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether the value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_interval(bounds: Any) -> TypeGuard[Sequence[float]]:
    """Return whether the value is a pair of finite numbers."""
    return isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(is_number, bounds))


def format_count(value: Any) -> str:
    """Format a count in thousands, millions or billions: 278324 → "278 k"."""
    if not is_number(value):
        return "–"
    for size, suffix in ((1e9, f"{NB}G"), (1e6, f"{NB}M"), (1e3, f"{NB}k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}" if abs(value) < 999.5 * size else f"{value / size:,.0f}{suffix}"
    return f"{value:.4g}"


def format_duration(value: Any) -> str:
    """Format seconds as "2.55 ms", "12.3 s", "3 min 20 s" or "2 h 05 min"."""
    if not is_number(value):
        return "–"
    if value < 0.9995:
        return f"{1000 * value:.3g}{NB}ms"
    if value < 60:
        return f"{value:.3g}{NB}s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NB}h{NB}{minutes:02d}{NB}min" if hours else f"{minutes}{NB}min{NB}{seconds:02d}{NB}s"


def format_bytes(value: Any) -> str:
    """Format a file size: 12.3 kB, 4.56 MB."""
    return (
        f"{format_count(value)}B"
        if is_number(value) and value >= 1000
        else f"{value}{NB}B"
        if is_number(value)
        else "–"
    )


def escape_breakable(text: Any) -> Markup:
    """Escape a text and allow line breaks after the joints of its words, so that long names don't break within one."""
    joints = r"(?<=[_/\\|])(?=[^\s])|(?<=[.:-])(?=[^\W\d_])|(?<=\w[+*])(?=[^\W\d_])"
    return Markup("<wbr>").join(escape_text(part) for part in re.split(joints, str(text)))


def escape_text(text: Any) -> Markup:
    """Escape a text for HTML; invisible characters and direction marks are written as escape sequences."""
    return text if isinstance(text, Markup) else escape(INVISIBLE.sub(lambda match: plain(match[0]), str(text)))


def format_percent(value: Any) -> str:
    """Format a fraction as a percentage."""
    return f"{100 * value:.1f}{NB}%" if is_number(value) else "–"


def format_decimal(value: Any) -> str:
    """Format a number with four significant digits, or as an integer from 1000 on."""
    if not is_number(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def mean(values: Sequence[Any]) -> float | None:
    """Return the mean of the finite numbers; None if there are none."""
    known = [value for value in values if is_number(value)]
    return sum(known) / len(known) if known else None
