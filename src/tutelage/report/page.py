"""From a run folder to `report.html`: one file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from tutelage.files import write_text
from tutelage.report import comparison, outcome, training, usage
from tutelage.report.blocks import Missing, Section, escaped, soft
from tutelage.report.folder import Run, read

SECTIONS: dict[str, Callable[[Run], Section]] = {
    "Result": outcome.result,
    "What was done": outcome.done,
    "Learning curves": training.curves,
    "Losses and gradients": training.losses,
    "Agreement with the teacher": comparison.agreeing,
    "Calibration": comparison.calibration,
    "Gain by class": comparison.classes,
    "Confusions": comparison.confusions,
    "Where teacher and student differ": comparison.examples,
    "Costs": outcome.costs,
    "Configuration and environment": outcome.settings,
    "Use the student": usage.use,
}
LAST = "Use the student"


def write(run: Path) -> Path:
    """Write `run/report.html` from what the run folder holds; what is missing there is left out with a note.

    Raises: CheckpointError if the folder or its result.json is missing or torn; TutelageError if it can't be written.
    """
    page = Path(run) / "report.html"
    write_text(page, render(read(Path(run))))
    return page


def render(run: Run) -> str:
    """The page as text; the same run gives the same text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    sections, missing = [], []
    for title, make in SECTIONS.items():
        try:
            sections.append(make(run))
        except Missing as why:
            missing.append((title, str(why)))
        except (
            TypeError,
            ValueError,
            KeyError,
            IndexError,
            AttributeError,
        ) as error:  # a part that isn't of the kind it should be
            missing.append((title, f"its data can't be used ({type(error).__name__}: {error})"))
    if left_out := outcome.notes(run, missing):
        last = [section for section in sections if section.title == LAST]
        sections = [*(section for section in sections if section not in last), left_out, *last]
    templates = Environment(
        loader=PackageLoader("tutelage", "report"),
        autoescape=True,
        finalize=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["soft"] = soft
    tone, badge, sentence = outcome.verdict(run)
    return templates.get_template("page.html.j2").render(
        student=outcome.student_name(run),
        teacher=outcome.model_name(run, "teacher") if run.summary("teacher") or run.of("teacher") else None,
        data=run.data.get("name") or run.config.get("data"),
        headline=outcome.headline(run),
        started=_date(str(run.environment.get("started") or "")),
        tone=tone,
        badge=badge,
        sentence=sentence,
        sections=sections,
        version=run.environment.get("tutelage"),
    )


def _date(started: str) -> str:
    """An ISO time to the minute, as it is written by hand; anything else as it is."""
    try:
        return datetime.fromisoformat(started).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return started
