"""A finished run, as a value that calls return."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.models import serialization
from tutelage.runs import summary
from tutelage.utils import checksums


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its folder and its result.

    Example:
        >>> import tempfile, tutelage
        >>> run = tutelage.train(
        ...     "cnn2", data="digits", limit=64, epochs=1, batch_size=32,
        ...     out=tempfile.mkdtemp() + "/run",
        ... )
        >>> run.report.name, type(run.student).__name__
        ('report.html', 'CNN')
    """

    folder: Path
    result: dict[str, Any]
    student_module: nn.Module | None = None
    """The student, if it was passed as an object."""

    @property
    def student(self) -> nn.Module:
        """The distilled student, in eval mode."""
        return serialization.load(self.folder, copy.deepcopy(self.student_module))

    @property
    def report(self) -> Path:
        """The report's file."""
        return self.folder / "report.html"

    def __repr__(self) -> str:
        return summary.line(self.folder, self.result)

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows."""
        return summary.html(self.folder, self.report, self.result)


def open_run(folder: Path, student: nn.Module | None = None) -> FinishedRun:
    """Return the finished run in a folder; student: a module of its kind, if it was passed as an object."""
    return FinishedRun(folder, json.loads(checksums.read_verified(folder / "result.json")), student)
