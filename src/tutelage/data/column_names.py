"""Checks of the names of columns that options of a source name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tutelage.errors import ConfigError, plain, unknown


def refuse_wrong_columns(name: str, named: Sequence[str], columns: Collection[str]) -> None:
    """Refuse columns that the data doesn't have, or that two options, such as target, group and drop, name.

    name: the data's.
    Raises: ConfigError with near names.
    """
    if faults := [unknown("column", plain(column), columns) for column in named if column not in columns]:
        raise ConfigError(f"{name}: " + "\n".join(faults))
    if twice := [column for column in named if named.count(column) > 1]:
        raise ConfigError(
            f"{name}: {twice[0]!r} is named twice, as target, group, drop or time: name each column once."
        )
