"""A whole study in one call, as the command line does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.study import conclusion, settings
from tutelage.study.leaderboard import Leaderboard
from tutelage.study.preflight import refuse_doomed
from tutelage.study.study import Study


@dataclass(frozen=True)
class FinishedStudy:
    """A finished study: its folder, with study.html, leaderboard.md and the runs, and its leaderboard."""

    folder: Path
    board: Leaderboard

    @property
    def page(self) -> Path:
        """The page's file."""
        return self.folder / "study.html"


def compare(methods: Sequence[str | Mapping[str, Any]] | None = None, **keys: Any) -> FinishedStudy:
    """Compare methods × students × teachers × seeds with one budget, beside the student alone and kd.

    Trials run in processes of their own, which read everything by name: data and networks of your own are
    `python:MODULE:CALLABLE`. A study that is there goes on, and trains only what is new.

    Args:
        methods: losses, sums and recipes by name, or mappings {name: …, method: …, …keys of a run}.
        keys: other keys of the study (students, teachers, seeds, out … : `tutelage compare --help`) and of its runs.

    Raises: ConfigError and the other TutelageErrors, each with the mend.

    Example:
        >>> import tempfile, tutelage
        >>> study = tutelage.compare(
        ...     ["dkd"], students=["cnn2"], teachers=["cnn4"], data="digits", limit=64, epochs=1,
        ...     teacher_epochs=1, seeds=1, processes=1, out=tempfile.mkdtemp() + "/study",
        ... )
        >>> sorted({row.method or row.role for row in study.board.rows})
        ['alone', 'dkd', 'kd', 'teacher']
    """
    values = keys if methods is None else {"methods": methods, **keys}
    study = Study(*settings.read(values=values), refuse_doomed)
    study.run()
    return FinishedStudy(study.folder, conclusion.write(study.store))
