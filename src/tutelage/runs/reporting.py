"""The report of a finished run, with the sections of its task and the command that repeats it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tutelage import report
from tutelage.config.rerun import rerun_command
from tutelage.report import fitted_sections, run_record
from tutelage.tasks.base import Sections
from tutelage.utils import registry

FITTED: Sections = {"Rules and fidelity": fitted_sections.fitted}
"""The section of a student that was fitted in one go."""


def write_report(folder: str | Path) -> Path:
    """Write the report of a finished run; return its path.

    Raises: CheckpointError if the folder or its result.json is missing or torn; TutelageError if it can't be written.
    """
    run = run_record.read(Path(folder))
    sections = {**task_sections(str(run.result.get("task"))), **(FITTED if fitted_sections.is_fitted(run) else {})}
    return report.write(replace(run, command=rerun_command(run.config)), sections)


def task_sections(name: str) -> Sections:
    """Return the task's own sections; none for a task that isn't installed here."""
    if not registry.is_known("tasks", name):
        return {}
    sections: Sections = registry.find_entry("tasks", name).load().report_sections()
    return sections
