"""The page on a search: the verdict on test, the choice, the trials on validation, and what mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.report.components import (
    Block,
    Code,
    Figure,
    PropertyList,
    Section,
    Table,
    Unit,
    WideTable,
    format_decimal,
    format_percent,
    is_interval,
    is_number,
    mean,
)
from tutelage.report.html import page_templates
from tutelage.report.svg_charts import ChartRow, Line, draw_bars, draw_intervals, draw_lines
from tutelage.utils.files import write_text

BADGES = {"beats": "Tuning helped", "worse": "Tuning made it worse", "undecided": "Undecided"}
ARMS = {"untuned": ("baseline", "Untuned"), "tuned": ("student", "Tuned")}


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write the page of a search's `tuning.json`.

    Raises: TutelageError if it can't be written.
    """
    write_text(path, render(result))


def render(result: Mapping[str, Any]) -> str:
    """Render the page; the same result gives the same text."""
    unit, verdict = _unit(result), str(result["gain"]["verdict"])
    gain = mean(result["gain"]["values"])
    return (
        page_templates()
        .get_template("tuning.html.j2")
        .render(
            headline=f"{unit.difference(gain)}{unit.points or ' ' + result['metric']}",
            data=result["data"],
            tone=verdict,
            badge=BADGES[verdict],
            sentence=_sentence(result, unit),
            sections=[_on_test(result, unit), _choice(result, unit), _trials(result, unit), *_importance(result)],
            version=None,
        )
    )


def _unit(result: Mapping[str, Any]) -> Unit:
    values = [value for arm in ARMS for value in result[arm]["values"]]
    return Unit.of(values, bool(result["higher_is_better"]))


def _sentence(result: Mapping[str, Any], unit: Unit) -> str:
    """Compare the choice with the untuned configuration on test, and name what was searched."""
    tuned, untuned = (unit(mean(result[arm]["values"])) for arm in ("tuned", "untuned"))
    gain, bounds = result["gain"], result["gain"]["interval"]
    seeds = f"{len(gain['values'])} new seed{'s' if len(gain['values']) > 1 else ''}"
    spread = ": one seed gives no interval, seeds=5 does"
    if is_interval(bounds):
        low, high = map(unit.difference, bounds)
        spread = f", 95 % interval of the difference {low} to {high}{unit.points}"
    done = sum(trial["state"] == "done" for trial in result["trials"])
    return (
        f"The choice reaches {tuned} {result['metric']} on test, the untuned configuration {untuned} "
        f"({seeds}{spread}). Trial {result['trial']} was chosen on validation, of {len(result['trials'])} trials, "
        f"{done} of them complete; nothing had read the test split until then."
    )


def _on_test(result: Mapping[str, Any], unit: Unit) -> Section:
    rows = []
    for arm, (style, label) in ARMS.items():
        values, bounds = result[arm]["values"], result[arm]["interval"]
        interval = (bounds[0], bounds[1]) if is_interval(bounds) else None
        rows.append(ChartRow(style, label, values, mean(values) or 0.0, interval))
    within = (0.0, 1.0) if unit.percent else (-math.inf, math.inf)
    about = f"test {result['metric']} of both configurations"
    drawing = draw_intervals(about, rows, f"test {result['metric']}", unit, unit.tick, within)
    head = ["Configuration", result["metric"], "95 % interval", "Seeds"]
    cells = [[row.label, unit(row.mean), unit.interval(row.interval) or "–", len(row.values)] for row in rows]
    caption = "Dots: seeds. Vertical bar: their mean. Line: 95 % interval of the mean."
    figure = Figure("By seed", drawing, caption, [(row.style, row.label) for row in rows], Table("Test", head, cells))
    pairs = [
        [seed, unit(a), unit(b), f"{unit.difference(b - a)}{unit.points}"]
        for seed, a, b in zip(result["seeds"], result["untuned"]["values"], result["tuned"]["values"], strict=True)
    ]
    table = Table("The same new seeds", ["Seed", "Untuned", "Tuned", "Difference"], pairs)
    return Section("On test", "Seeds and test samples that no trial had.", [figure, table])


def _choice(result: Mapping[str, Any], unit: Unit) -> Section:
    values = [(path, _text(value)) for path, value in result["point"].items()]
    space = Table("The space", ["Key", "Values"], [[path, text] for path, text in result["space"].items()])
    blocks: list[Block] = [PropertyList("Chosen", values), space, Code("Run it again", result["command"])]
    lead = f"Trial {result['trial']}: {unit(result['value'])} {result['metric']} on validation, the best of all."
    return Section("Choice", lead, blocks)


def _trials(result: Mapping[str, Any], unit: Unit) -> Section:
    trials = result["trials"]
    done = [(float(trial["number"]), trial["value"]) for trial in trials if is_number(trial["value"])]
    better = max if result["higher_is_better"] else min
    best = [(x, better(value for _, value in done[: n + 1])) for n, (x, _) in enumerate(done)]
    lines = [Line("student", "Trial", done), Line("teacher", "Best so far", best)]
    about = f"validation {result['metric']} by trial"
    drawing = draw_lines(about, lines, x="trial", value_text=unit, tick=unit.tick)
    figure = Figure("By trial", drawing, "", [(line.style, line.label) for line in lines])
    rows = [
        [
            trial["number"],
            unit(trial["value"]) if is_number(trial["value"]) else "–",
            *(_text(trial["point"][path]) for path in result["space"]),
            trial["state"] + (f": {trial['reason']}" if trial["reason"] else ""),
        ]
        for trial in trials
    ]
    table = WideTable("All trials", ["Trial", result["metric"], *result["space"], "State"], rows)
    return Section("Trials", "Figures on validation samples, means over the seeds of a trial.", [figure, table])


def _importance(result: Mapping[str, Any]) -> list[Section]:
    """Return the section on what mattered; none if there were too few trials to tell."""
    parts = list(result["importance"].items())
    if not parts:
        return []
    drawing = draw_bars("importance of each key", parts, format_percent)
    table = Table("Importance", ["Key", "Part of the variance"], [[path, format_percent(x)] for path, x in parts])
    figure = Figure("Importance", drawing, "", (), table)
    lead = "The part of the variance of the validation metric over the space that each key explains (fANOVA)."
    return [Section("What mattered", lead, [figure])]


def _text(value: Any) -> str:
    return format_decimal(value) if is_number(value) else str(value)
