"""Checks that all trainings that are compared had the same data, though each process loads them by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tutelage.config import schema
from tutelage.errors import ConfigError
from tutelage.study import choice_folder
from tutelage.utils.key_types import OF_DATA

OF_FORM = ("val", "judged_on", "column", "fingerprint", "scheme", "student_inputs", "student_size", "teacher_inputs")
"""The keys beside the data's own that decide which samples a run has, and in which form."""


def recorded(run: Path) -> tuple[str, str] | None:
    """Return the data that a run names, as text, and their fingerprint at its begin; None if it has no record of them.

    Raises: CheckpointError if the record is torn.
    """
    file = run / "environment.json"
    if not file.is_file():
        return None
    record = choice_folder.read(file, "study")
    keys = {key: record["config"].get(key) for key in (*schema.keys_with_mark(OF_DATA), *OF_FORM)}
    return f"data {json.dumps(keys, sort_keys=True)}", str(record["data"])


def refuse_other_data(run: Path, set_default: Callable[[str, str], str | None]) -> None:
    """Refuse a run on other data than those of the same name.

    set_default: keeps the first fingerprint of a name, and returns it.

    Raises: ConfigError; CheckpointError if the run's record is torn.
    """
    found = recorded(run)
    if found is not None and set_default(*found) != found[1]:
        raise ConfigError(
            f"{run} has other data than the trainings before it, and can't be compared with them: the data have "
            "changed since, or each process that loads them draws others. Give their random numbers a seed "
            "(generator=torch.Generator().manual_seed(0)), and begin in another folder (out=…)."
        )
