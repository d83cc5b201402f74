"""Rows of tables: vectors (F,) of numbers, one for each column."""

from __future__ import annotations

from tutelage.data.modalities.base import Modality


class TableRow(Modality):
    """Rows of numbers; the channels are the columns."""

    name = "table"
    positions = 0

    def describe(self, channels: int, size: tuple[int, ...]) -> str:
        """Return the number of columns."""
        return f"{channels} columns"
