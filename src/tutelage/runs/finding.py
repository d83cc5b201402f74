"""What a look at a run finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """What was looked at and found, and the mend if it isn't ok."""

    level: Level
    what: str
    mend: str = ""
