"""What a page is made of, and how its numbers are said."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeGuard

from markupsafe import Markup, escape

from tutelage.errors import plain

NB = "\u00a0"
"""A space that doesn't break: between a number and its unit."""

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tab and newline, marks of direction, and halves of characters."""


@dataclass(frozen=True)
class Block:
    """A piece of a section; `kind` names the macro that draws it, `wide` whether it takes the whole width."""

    kind: ClassVar[str]
    wide: ClassVar[bool] = False


@dataclass(frozen=True)
class Table(Block):
    """Rows under a head; the first column names the row."""

    kind = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class WideTable(Table):
    """A table over the whole width."""

    wide = True


@dataclass(frozen=True)
class Facts(Block):
    """Short facts as (name, value)."""

    kind = "facts"
    wide = True
    title: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Figure(Block):
    """A drawing, what its colours mean as (css class, label), and the same numbers as a table."""

    kind = "figure"
    title: str
    drawing: Markup
    caption: str = ""
    legend: Sequence[tuple[str, str]] = ()
    table: Table | None = None


@dataclass(frozen=True)
class WideFigure(Figure):
    """A drawing with its table beside it."""

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
    """Something to copy."""

    kind = "code"
    wide = True
    title: str
    text: str


@dataclass(frozen=True)
class SummaryCard(Block):
    """One model's summary: a large figure, what stands below it, and facts as (name, value)."""

    kind = "card"
    style: str
    title: str
    model: str
    figure: str
    below: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ImageBlock(Block):
    """An example image, and what each model said of it as (css class, who, class, probability, right?)."""

    kind = "picture"
    source: str
    alt: str
    truth: str
    said: Sequence[tuple[str, str, str, str, bool]]


@dataclass(frozen=True)
class MaskBlock(Block):
    """One example image beside its masks, as (who, source, alt)."""

    kind = "masks"
    wide = True
    pictures: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class LegendBlock(Block):
    """What colours mean, as (colour, name)."""

    kind = "legend"
    wide = True
    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Folded(Block):
    """A table that opens on demand."""

    kind = "folded"
    wide = True
    table: Table


@dataclass(frozen=True)
class Section:
    """A heading, one sentence on how to read what follows, and the blocks."""

    title: str
    lead: str = ""
    blocks: Sequence[Block] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The anchor."""
        return self.title.lower().replace(" ", "-")


class Missing(Exception):
    """A section has nothing to show; the message says why."""


@dataclass(frozen=True)
class Unit:
    """How values of the deciding metric are said: as percentages, or with four significant digits."""

    percent: bool

    def __call__(self, value: Any) -> str:
        """With its unit; a dash for what isn't a number."""
        if not is_number(value):
            return "–"
        return (f"{100 * value:.1f}{NB}%" if self.percent else f"{value:.4g}").replace("-", "−")

    def difference(self, value: Any) -> str:
        """With its sign."""
        if not is_number(value):
            return "–"
        text = f"{100 * value:+.2f}" if self.percent else f"{value:+.3g}"
        return text.replace("-", "−")

    @property
    def points(self) -> str:
        """What follows a difference."""
        return " points" if self.percent else ""

    def interval(self, bounds: Any) -> str:
        """low to high, within what there can be; empty if there is none."""
        if not is_interval(bounds):
            return ""
        low, high = (min(max(bound, 0), 1) if self.percent else bound for bound in bounds)
        return f"{self(low).removesuffix(f'{NB}%')} to {self(high)}"

    def tick(self, value: float) -> str:
        """On an axis."""
        return (f"{100 * value:.3g}{NB}%" if self.percent else f"{value:.3g}").replace("-", "−")


def is_number(value: Any) -> TypeGuard[float]:
    """A finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_interval(bounds: Any) -> TypeGuard[Sequence[float]]:
    """Two finite numbers."""
    return isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(is_number, bounds))


def count(value: Any) -> str:
    """A count in thousands, millions or billions: 278324 → "278 k"."""
    if not is_number(value):
        return "–"
    for size, suffix in ((1e9, f"{NB}G"), (1e6, f"{NB}M"), (1e3, f"{NB}k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}" if abs(value) < 999.5 * size else f"{value / size:,.0f}{suffix}"
    return f"{value:.4g}"


def duration(value: Any) -> str:
    """Seconds as "2.55 ms", "12.3 s", "3 min 20 s" or "2 h 05 min"."""
    if not is_number(value):
        return "–"
    if value < 0.9995:
        return f"{1000 * value:.3g}{NB}ms"
    if value < 60:
        return f"{value:.3g}{NB}s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NB}h{NB}{minutes:02d}{NB}min" if hours else f"{minutes}{NB}min{NB}{seconds:02d}{NB}s"


def bytes_of(value: Any) -> str:
    """A file's size: 12.3 kB, 4.56 MB."""
    return f"{count(value)}B" if is_number(value) and value >= 1000 else f"{value}{NB}B" if is_number(value) else "–"


def soft(text: Any) -> Markup:
    """Escaped, and free to break after what joins words: a long name breaks there and not within a word."""
    joints = r"(?<=[_/\\|])(?=[^\s])|(?<=[.:-])(?=[^\W\d_])"
    return Markup("<wbr>").join(escaped(part) for part in re.split(joints, str(text)))


def escaped(text: Any) -> Markup:
    """For HTML; what can't be seen, or turns the text around it, is written as an escape."""
    return text if isinstance(text, Markup) else escape(UNSEEN.sub(lambda found: plain(found[0]), str(text)))


def share(value: Any) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f}{NB}%" if is_number(value) else "–"


def decimal(value: Any) -> str:
    """Four significant digits, or all that there are before the point."""
    if not is_number(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def mean(values: Sequence[Any]) -> float | None:
    """The mean of those that are finite numbers; None if none is."""
    known = [value for value in values if is_number(value)]
    return sum(known) / len(known) if known else None
