"""A page that shows the samples of a batch with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.report.components import Block, Figure, MaskBlock, Section, Table, WideTable, format_decimal
from tutelage.report.html import page_templates
from tutelage.report.masks import encode_png
from tutelage.report.svg_charts import Line, draw_lines
from tutelage.utils.files import write_text

CHANNELS, POINTS, COLUMNS = 4, 400, 12
"""The most lines of a chart, points of a line, and columns of a table that are shown."""
SMALLEST, LARGEST = 160, 360
"""The sides below which pictures are enlarged, and above which they are reduced, in pixels."""

Picture = tuple[str, Any]
"""A picture's label, and its pixels (H, W, 3 or 4) uint8."""


def write(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write the page.

    Raises: TutelageError if it can't be written.
    """
    write_text(path, page_templates().get_template("batch.html.j2").render(title=title, sections=sections))


def pictures(samples: Sequence[Sequence[Picture]]) -> list[Block]:
    """Return a row for each sample of several pictures, or all in one if each sample has one."""
    rows = [
        [(label, encode_enlarged(pixels), f"sample {number}: {label}") for label, pixels in of_sample]
        for number, of_sample in enumerate(samples)
    ]
    if all(len(row) == 1 for row in rows):
        return [MaskBlock([row[0] for row in rows])]
    return [MaskBlock(row) for row in rows]


def series(captions: Sequence[str], values: Any, names: Sequence[str]) -> list[Block]:
    """Return a chart for each sample of series (B, C, T), of its first channels."""
    blocks: list[Block] = []
    for number, (caption, channels) in enumerate(zip(captions, values, strict=True)):
        step = max(1, channels.shape[1] // POINTS)
        lines = [
            Line(f"term{n}", name, [(float(t), float(y)) for t, y in list(enumerate(channel))[::step]])
            for n, (name, channel) in enumerate(zip(names, channels[:CHANNELS], strict=False))
        ]
        drawing = draw_lines(f"sample {number}", lines, x="place in the series")
        blocks.append(Figure(f"Sample {number}", drawing, caption, [(line.style, line.label) for line in lines]))
    return blocks


def rows(captions: Sequence[str], values: Any, names: Sequence[str]) -> list[Block]:
    """Return the table of samples of numbers (B, C), of their first columns."""
    head = ["Target", *names[:COLUMNS]]
    cells = [
        [caption, *map(format_decimal, row[:COLUMNS].tolist())] for caption, row in zip(captions, values, strict=True)
    ]
    return [WideTable("Rows", head, cells)]


def targets(captions: Sequence[str]) -> list[Block]:
    """Return the table of the targets of samples that have no picture."""
    return [Table("Targets", ["Sample", "Target"], list(enumerate(captions)))]


def encode_enlarged(pixels: Any) -> str:
    """Encode pixels as a PNG data URI, small ones enlarged by a whole factor."""
    times = max(1, SMALLEST // max(pixels.shape[:2]))
    return encode_png(np.ascontiguousarray(pixels.repeat(times, 0).repeat(times, 1)), LARGEST, smooth=False)
