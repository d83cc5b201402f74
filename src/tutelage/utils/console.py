"""Output: standard output, of the first process only, and standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.errors import plain

SIGNIFICANT = 100.0
"""The size of a metric from which it is shown with six significant digits, in place of four decimals."""

DEFAULT_WIDTH = 180
"""Columns if the output is no terminal."""


def console(stderr: bool = False) -> Console:
    """Return a console on standard output, of the first process only, or error.

    It is coloured on a terminal unless NO_COLOR is set.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else DEFAULT_WIDTH
    return Console(
        stderr=stderr, highlight=False, markup=False, emoji=False, width=width, quiet=process_rank() > 0 and not stderr
    )


def process_rank() -> int:
    """Return the number of this process among those of one training."""
    return max(int(os.environ.get(name) or 0) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def print_lines(*lines: str) -> None:
    """Print lines on standard output without wrapping; control characters in them are escaped."""
    console().print("\n".join(map(plain, lines)), soft_wrap=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table on standard output; long cells wrap rather than lose text."""
    rich_table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        rich_table.add_column(plain(column), overflow="fold")
    for row in rows:
        rich_table.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    console().print(rich_table)


def format_number(value: float | None) -> str:
    """Format a count with thousands separators (1,234 or 1.2 M), – for None."""
    if value is None:
        return "–"
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:,.0f}"


def format_duration(seconds: float | None) -> str:
    """Format seconds for people: 2.55 ms, 2.55 s, 12 s, 3 min, 2.5 h."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 90:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_metric(value: float, sign: str = "") -> str:
    """Format a metric or a difference of metrics: 0.8137, 57858.1; sign: "+" for an explicit sign."""
    return f"{value:{sign}.4f}" if abs(value) < SIGNIFICANT else f"{value:{sign}.6g}"
