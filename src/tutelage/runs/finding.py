"""The result of a check of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """The result of one check: its level, a sentence, and the mend if it isn't ok."""

    level: Level
    what: str
    mend: str = ""
