"""Which of several teachers teaches which label column."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.config import stages
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.models import serialization


def taught(teachers: Sequence[str], data: DataModule) -> list[str | None]:
    """The label column that each of several teachers teaches; None: what all of the data is for.

    Raises: ConfigError if there are columns, and not a model or run folder for each.
    """
    columns = list(data.columns)
    if not columns:
        return [data.column_name or None] * len(teachers)
    if len(teachers) != len(columns) or any(map(stages.is_stage, teachers)):
        raise ConfigError(
            f"teacher=[{', '.join(teachers)}]: {data.name} has the label columns {', '.join(columns)}; expected a "
            "model or run folder for each, in this order, or a single teacher of all."
        )
    return [*columns]


def refuse(name: str, card: serialization.ModelCard | None, own: DataModule) -> None:
    """Refuse a saved network that wasn't trained on the column that it is to teach; own: the data of that column.

    Raises: ConfigError that says what it knows.
    """
    if card is not None and (card.classes != own.classes or card.column not in ("", own.column_name)):
        raise ConfigError(
            f"{name} can't teach {own.column_name} of {own.name} ({', '.join(own.classes)}): it was trained on "
            f"{card.column or card.data}, and knows {', '.join(card.classes)}; give a teacher for each label column, "
            "in their order."
        )
