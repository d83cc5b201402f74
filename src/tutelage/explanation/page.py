"""The explanation of a run, in its folder: explain.json, and explain.html, one self-contained page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.explanation.base import to_json
from tutelage.explanation.groups import Explained
from tutelage.explanation.opened_run import OpenedRun
from tutelage.report.components import Section, WideTable
from tutelage.report.html import page_templates
from tutelage.runs.summary import describe_result
from tutelage.utils.checksums import read_verified
from tutelage.utils.files import write_text


def write(opened: OpenedRun, explained: Mapping[str, Explained]) -> dict[str, Any]:
    """Write both files into the run folder; return the contents of explain.json.

    Raises: TutelageError if they can't be written.
    """
    result = json.loads(read_verified(opened.folder / "result.json"))
    contents: dict[str, Any] = {
        "run": opened.folder.name,
        "task": result["task"],
        "samples": opened.samples,
        "groups": {name: _group(each) for name, each in explained.items()},
    }
    write_text(opened.folder / "explain.json", json.dumps(to_json(contents), indent=1, allow_nan=False))
    sections = [*_in_short(explained), *(_section(each) for each in explained.values() if each.figures)]
    if left_out := [(each.group.title, each.reason) for each in explained.values() if not each.figures]:
        lead = "Figures that this run can't have, and why."
        sections.append(Section("Left out", lead, [WideTable("Left out", ["Figures", "Why"], left_out)]))
    page = page_templates().get_template("explain.html.j2")
    text = page.render(
        title=f"Why: {opened.folder.name}",
        what=_what(opened),
        badge=result["metric"],
        sentences=list(describe_result(result)) or ["The run has no student alone to compare with."],
        sections=sections,
    )
    write_text(opened.folder / "explain.html", text)
    return dict(to_json(contents))


def _group(each: Explained) -> dict[str, Any]:
    """Return a group's entry of explain.json."""
    if not each.figures:
        return {"left out": each.reason}
    return {figure.name: figure.to_json() for figure in each.figures}


def _in_short(explained: Mapping[str, Explained]) -> list[Section]:
    """Return the section of each group's question with its first reading; none if there are no readings."""
    readings = {each.group.lead: [x.reading for x in each.figures if x.reading] for each in explained.values()}
    rows = [(question, of_group[0]) for question, of_group in readings.items() if of_group]
    lead = "The first figure of each group in words; what it means and its source stand below it."
    return [Section("In short", lead, [WideTable("In short", ["Question", "Figures"], rows)])] if rows else []


def _section(each: Explained) -> Section:
    return Section(each.group.title, each.group.lead, [figure.block for figure in each.figures])


def _what(opened: OpenedRun) -> str:
    """Return what the figures are of, in a sentence."""
    count = len(opened.networks["student"])
    seeds = f"{count} seed{'s' if count > 1 else ''}"
    names = ", ".join(opened.labels[role].lower() for role in opened.networks)
    by = opened.run.plan.config_for(opened.phase).teacher_names
    names += f"; taught by {' + '.join(by)}" if by and "teacher" in opened.networks else ""
    return (
        f"Figures of the trained networks ({names}; {seeds}) on {opened.data.name}, "
        f"of at most {opened.samples:,} samples of a split, evenly spread. Nothing was trained."
    )


def page_of(folder: Path) -> Path:
    """Return the path of a run's page."""
    return folder / "explain.html"
