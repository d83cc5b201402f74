"""The page of a study, `study.html`: the two answers, the leaderboard, its drawings, and the links to the runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePath

from tutelage.report.components import MissingDataError, Section
from tutelage.report.html import page_templates
from tutelage.study import answers, drawings, tables
from tutelage.study.leaderboard import Leaderboard
from tutelage.utils.files import write_text

SECTIONS: tuple[Callable[[Leaderboard, Path], Section], ...] = (
    tables.leaderboard,
    tables.published,
    drawings.gains,
    drawings.costs,
    drawings.curves,
    tables.heat_map,
    tables.evidence,
    tables.unfinished,
    tables.repeat,
)
"""The builders of the page's sections."""


def write(board: Leaderboard, root: Path) -> Path:
    """Write the page into a study's folder; sections without data are left out.

    Raises: TutelageError if it can't be written.
    """
    page = root / "study.html"
    write_text(page, render(board, root))
    return page


def render(board: Leaderboard, root: Path) -> str:
    """Render the page; the same leaderboard and runs give the same text."""
    sections = []
    for build in SECTIONS:
        try:
            sections.append(build(board, root))
        except MissingDataError:
            continue
    answer = answers.does_it_help(board)
    template = page_templates().get_template("study.html.j2")
    return template.render(
        study=board.study,
        headline=answer.headline,
        tone=answer.tone,
        helps=answer.sentence,
        choices=answers.which_method(board),
        who=f"{', '.join(board.students)} on {short_name(board.data.get('name', '–'))}",
        sections=sections,
        version=board.versions.get("tutelage"),
    )


def short_name(data: str) -> str:
    """Return the name of data without the folders on its path, which the command at the end of the page has.

    >>> short_name("folder:/home/ada/photos"), short_name("digits")
    ('folder:photos', 'digits')
    """
    kind, colon, where = data.partition(":")
    return f"{kind}:{PurePath(where).name}" if colon and PurePath(where).name else data
