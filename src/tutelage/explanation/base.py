"""One figure of an explanation: its numbers, what they mean, and where they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tutelage.report.components import NB, Block, Figure, Table, WideFigure, WideTable, format_decimal, format_percent
from tutelage.utils.intervals import confidence_interval


class NotApplicable(Exception):
    """Raised by a group of figures that a run can't have; the message gives the reason."""


@dataclass(frozen=True)
class Explanation:
    """One figure: its name, its numbers for explain.json, and its block on the page.

    meaning: a sentence on what it means for the user. source: authors and venue. reading: these numbers in words.
    """

    name: str
    values: Any
    block: Block
    meaning: str
    source: str
    reading: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the entry of explain.json."""
        texts = {key: getattr(self, key).replace(NB, " ") for key in ("meaning", "source", "reading")}
        return {**texts, "values": self.values}


@dataclass(frozen=True)
class OverSeeds:
    """A number of several trainings: their values, and the mean with its 95 % interval; NaN where it isn't defined."""

    values: Sequence[float]

    @property
    def known(self) -> list[float]:
        """The values that are defined."""
        return [value for value in self.values if math.isfinite(value)]

    @property
    def mean(self) -> float:
        """The mean over the seeds that have it; NaN if none has."""
        return sum(self.known) / len(self.known) if self.known else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return the mean, the interval (None for one seed) and the values."""
        return {"mean": self.mean, "interval": confidence_interval(self.known), "values": list(self.values)}

    def text(self, write: Callable[[Any], str] = format_decimal) -> str:
        """Return the mean, and the interval if the values differ."""
        bounds = confidence_interval(self.known)
        if bounds is None or bounds[0] == bounds[1]:
            return write(self.mean).replace("-", "−")
        return f"{write(self.mean)} ({write(bounds[0])} to {write(bounds[1])})".replace("-", "−")

    def percent(self) -> str:
        """Return the mean of shares in percent, and the interval within 0 and 100 %."""
        return self.text(lambda share: format_percent(min(max(share, 0.0), 1.0)))


Numbers = Mapping[str, OverSeeds]
"""Numbers of one role, by name."""


@dataclass(frozen=True)
class Words:
    """The words around a figure."""

    name: str
    title: str
    meaning: str
    source: str

    def caption(self, reading: str) -> str:
        """Return what stands below the figure."""
        return " ".join(part for part in (reading, self.meaning, f"Source: {self.source}.") if part)

    def as_table(
        self, head: Sequence[str], rows: Sequence[Sequence[Any]], values: Any, reading: str = "", wide: bool = True
    ) -> Explanation:
        """Return a figure that is a table."""
        kind = WideTable if wide else Table
        block = kind(self.title, head, rows, self.caption(reading))
        return Explanation(self.name, values, block, self.meaning, self.source, reading)

    def as_numbers(
        self, labels: Mapping[str, str], values: Mapping[str, Numbers], reading: str = "", wide: bool = True
    ) -> Explanation:
        """Return a figure that is a table of the same numbers of each role; labels: the roles' names."""
        names = [*next(iter(values.values()))]
        rows = [[name[0].upper() + name[1:], *(of_role[name].text() for of_role in values.values())] for name in names]
        return self.as_table(["", *(labels[role] for role in values)], rows, values, reading, wide)

    def as_chart(
        self,
        drawing: Markup,
        legend: Sequence[tuple[str, str]],
        table: tuple[Sequence[str], Sequence[Sequence[Any]]],
        values: Any,
        reading: str = "",
        wide: bool = True,
    ) -> Explanation:
        """Return a figure that is a chart; table: the same numbers, as a head and rows."""
        kind = WideFigure if wide else Figure
        block = kind(self.title, drawing, self.caption(reading), legend, Table(self.title, *table))
        return Explanation(self.name, values, block, self.meaning, self.source, reading)


def over_seeds(per_seed: Sequence[Mapping[str, float]]) -> dict[str, OverSeeds]:
    """Return each number of several trainings, by name."""
    return {name: OverSeeds([float(values[name]) for values in per_seed]) for name in per_seed[0]}


def to_json(value: Any) -> Any:
    """Return a value in JSON's types; numbers that aren't finite become null."""
    if hasattr(value, "to_json"):
        return to_json(value.to_json())
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
