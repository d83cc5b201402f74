"""A run from the command line, and what it found in a few lines."""

from __future__ import annotations

from typing import Any

from tutelage.api import Finished, finished
from tutelage.config.schema import Config
from tutelage.runs.inputs import Provided
from tutelage.runs.progress import ProgressDisplay
from tutelage.runs.run import Run
from tutelage.runs.summary import interval, roles, sentences
from tutelage.utils.console import duration, number, say, table


def run(config: Config) -> None:
    """Fit with progress, then tell the outcome."""
    with ProgressDisplay(config.seeds) as progress:
        folder = Run(config, Provided(callbacks=(progress,))).fit()
    tell(finished(folder))


def tell(done: Finished) -> None:
    """The table of figures, the verdict, and where everything is."""
    result = done.result
    found = {name: result[role] for role, name in roles(result).items()}
    first = {"teacher": found.pop("teacher")} if "teacher" in found else {}
    rows = [_row(name, role, result["metric"]) for name, role in (first | result["before"] | found).items()]
    rows += [_row(f"  {name}", other, result["metric"]) for name, other in result["others"].items()]
    say("")
    table("", ("", "model", result["metric"], "95 % interval", "parameters", "MACs", "training"), rows)
    if columns := result["data"].get("columns"):
        told = {name: role["columns"] for name, role in (first | found).items() if role["columns"]}
        rows = [(name, *(f"{figures[c]:.4f}" for c in columns)) for name, figures in told.items()]
        table("", (f"{result['metric']} of each label", *columns), rows)
    say("", *_cost(result))
    if said := list(sentences(result)):
        say("", *said)
    say(
        "",
        f"report   {done.report}",
        f"student  {done.folder / 'student.safetensors'}",
        f'load it  model = tutelage.load("{done.folder}")',
    )


def _row(name: str, summary: dict[str, Any], metric: str) -> tuple[str, ...]:
    return (
        name,
        summary["model"],
        "–" if summary.get(metric) is None else f"{summary[metric]:.4f}",
        interval(summary["interval"]) or "– (one seed)",
        number(summary["parameters"]),
        number(summary["macs"]),
        duration(summary["seconds"]) if summary["seconds"] is not None else "",
    )


def _cost(result: dict[str, Any]) -> list[str]:
    """What a step of each training took and held, in one line; none if nothing was trained here."""
    trained = {name: result[role] for role, name in roles(result).items() if result[role].get("step_ms")}
    parts = [
        f"{name} {duration(s['step_ms'] / 1000)}, {number(s.get('peak_memory_mb'))} MB" for name, s in trained.items()
    ]
    of = {s.get("peak_memory_of") for s in trained.values()}
    whose = " of the process so far" if "process so far" in of else ""
    return [f"a step and peak memory{whose}: {'; '.join(parts)}"] if parts else []
