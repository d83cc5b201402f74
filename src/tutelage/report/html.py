"""Render a run folder as `report.html`, a self-contained file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.report import choice_section, summary_sections, training_sections, usage
from tutelage.report.components import MissingDataError, Section, escape_breakable, escape_text
from tutelage.report.run_record import RunRecord
from tutelage.utils.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

Builders = Mapping[str, Callable[[RunRecord], Section]]
"""Builders of sections, by title."""

BEFORE: Builders = {
    "Result": summary_sections.result,
    "What was done": summary_sections.description,
    "Learning curves": training_sections.curves,
    "Losses and gradients": training_sections.losses,
}
"""The sections before those of the task."""

CHOICE: Builders = {"How the method was chosen": choice_section.choice}
"""The section of a run whose method was chosen by method=auto."""

AFTER: Builders = {
    "Costs": summary_sections.costs,
    "Configuration and environment": summary_sections.settings,
    "Use the student": usage.usage,
}
LAST = "Use the student"


def write(run: RunRecord, task_sections: Builders) -> Path:
    """Write `report.html` into a run folder; sections with missing files are left out with a note.

    Args:
        run: The finished run, as `run_record.read` reads it.
        task_sections: The builders of the task's own sections (`Task.report_sections`).

    Returns:
        The path of the report.

    Raises: TutelageError if it can't be written.
    """
    page = run.path / "report.html"
    write_text(page, render(run, task_sections))
    return page


def render(run: RunRecord, task_sections: Builders) -> str:
    """Render the page; the same run gives the same text."""
    has_teacher = run.summary("teacher") or run.phases_with_role("teacher")
    tone, badge, sentence = summary_sections.verdict(run)
    before = {**BEFORE, **(CHOICE if run.result.get("choice") else {})}
    return (
        page_templates()
        .get_template("page.html.j2")
        .render(
            student=summary_sections.student_name(run),
            teacher=summary_sections.model_name(run, "teacher") if has_teacher else None,
            data=run.data.get("name") or run.config.get("data"),
            headline=summary_sections.headline(run),
            started=_date(str(run.environment.get("started") or "")),
            tone=tone,
            badge=badge,
            sentence=sentence,
            sections=_sections(run, {**before, **task_sections, **AFTER}),
            explained=(run.path / "explain.html").is_file(),
            version=run.environment.get("tutelage"),
        )
    )


@cache
def page_templates() -> Environment:
    """Return the templates of pages, which are compiled once."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("tutelage", "report"),
        autoescape=True,
        finalize=escape_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["breakable"] = escape_breakable
    return templates


def _sections(run: RunRecord, builders: Builders) -> list[Section]:
    """Build the sections; those that can't be built are named in a section of notes before the last one."""
    sections, missing = [], []
    for title, build in builders.items():
        try:
            sections.append(build(run))
        except MissingDataError as error:
            missing.append((title, str(error)))
        # a value of an unexpected type in one of the files
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            missing.append((title, f"its data is invalid ({type(error).__name__}: {error})"))
    if notes := summary_sections.notes(run, missing):
        last = [section for section in sections if section.title == LAST]
        sections = [*(section for section in sections if section not in last), notes, *last]
    return sections


def _date(started: str) -> str:
    """Format an ISO time to the minute; other texts are returned unchanged."""
    try:
        return datetime.fromisoformat(started).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return started
