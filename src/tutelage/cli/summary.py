"""Run a configuration from the command line and print a summary of the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tutelage.config import schema
from tutelage.config.schema import Config
from tutelage.runs.finished_run import FinishedRun, open_run
from tutelage.runs.inputs import Provided
from tutelage.runs.progress import ProgressDisplay
from tutelage.runs.resuming import begin_or_resume
from tutelage.runs.run import Run
from tutelage.runs.summary import describe_result, interval, roles
from tutelage.study import auto
from tutelage.utils.console import format_duration, format_metric, format_number, print_lines, print_table


def run_keys(keys: Mapping[str, Any]) -> None:
    """Run the configuration of these keys with a progress display, then print the summary; method=auto is chosen first.

    Raises: ConfigError that lists all faults.
    """
    if auto.is_requested(keys):
        config, _ = auto.Choice.begin(keys, notify=print_lines).run()
        run(config, begin_or_resume)
    else:
        run(schema.check(keys))


def begin(config: Config, provided: Provided) -> Path:
    """Run a configuration in a new folder; return it."""
    return Run(config, provided).fit()


def run(config: Config, fit: Callable[[Config, Provided], Path] = begin) -> None:
    """Run the configuration with a progress display, then print the summary; fit: what runs it."""
    with ProgressDisplay(config.seeds) as progress:
        folder = fit(config, Provided(callbacks=(progress,)))
    print_summary(open_run(folder))


def print_summary(run: FinishedRun) -> None:
    """Print the table of metrics, the verdict, and the paths of the results."""
    result = run.result
    students = {name: result[role] for role, name in roles(result).items()}
    teacher = {"teacher": students.pop("teacher")} if "teacher" in students else {}
    rows = [_row(name, role, result["metric"]) for name, role in (teacher | result["before"] | students).items()]
    rows += [_row(f"  {name}", summary, result["metric"]) for name, summary in result["others"].items()]
    print_lines("")
    metric = f"{'validation ' if result.get('judged_on') == 'val' else ''}{result['metric']}"
    print_table("", ("", "model", metric, "95 % interval", "parameters", "MACs", "training"), rows)
    if columns := result["data"].get("columns"):
        by_model = {name: role["columns"] for name, role in (teacher | students).items() if role["columns"]}
        rows = [(name, *(format_metric(values[c]) for c in columns)) for name, values in by_model.items()]
        print_table("", (f"{result['metric']} of each label", *columns), rows)
    print_lines("", *_cost(result))
    if verdict := list(describe_result(result)):
        print_lines("", *verdict)
    print_lines(
        "",
        f"report   {run.report}",
        f"student  {run.folder / 'student.safetensors'}",
        f"load it  {load_command(run.folder)}",
    )


def load_command(folder: Path) -> str:
    """Return the Python line that loads a run's student."""
    return f"model = tutelage.load({json.dumps(str(folder), ensure_ascii=False)})"


def _row(name: str, summary: dict[str, Any], metric: str) -> tuple[str, ...]:
    return (
        name,
        summary["model"],
        "–" if summary.get(metric) is None else format_metric(summary[metric]),
        interval(summary["interval"]) or "– (one seed)",
        format_number(summary["parameters"]),
        format_number(summary["macs"]),
        format_duration(summary["seconds"]) if summary["seconds"] is not None else "",
    )


def _cost(result: dict[str, Any]) -> list[str]:
    """The time and peak memory of a step of each training, in one line; empty if nothing was trained in this run."""
    trained = {name: result[role] for role, name in roles(result).items() if result[role].get("step_ms")}
    parts = [
        f"{name} {format_duration(s['step_ms'] / 1000)}, {format_number(s.get('peak_memory_mb'))} MB"
        for name, s in trained.items()
    ]
    scopes = {s.get("peak_memory_of") for s in trained.values()}
    scope = " of the process so far" if "process so far" in scopes else ""
    return [f"time per step and peak memory{scope}: {'; '.join(parts)}"] if parts else []
