"""A run from the command line, and what it found in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tutelage.api import Finished, finished
from tutelage.cli.console import duration, number, say, table
from tutelage.cli.progress import Progress
from tutelage.config import Config
from tutelage.networks import Given
from tutelage.run import Run
from tutelage.statistics import doubts, worse

ROLES = {"teacher": "teacher", "alone": "student alone", "student": "student taught"}
VERDICTS = {
    "beats": "The taught student beats the student trained alone",
    "undecided": "Undecided whether teaching helped",
    "worse": "The taught student is worse than the student trained alone",
}


def run(config: Config) -> None:
    """Fit with progress, then tell the outcome."""
    with Progress(config.seeds) as progress:
        folder = Run(config, Given(callbacks=(progress,))).fit()
    tell(finished(folder))


def tell(done: Finished) -> None:
    """The table of figures, the verdict, and where everything is."""
    result = done.result
    roles = {name: result[role] for role, name in ROLES.items() if result[role]}
    first = {"teacher": roles.pop("teacher")} if "teacher" in roles else {}
    rows = [_row(name, found, result["metric"]) for name, found in (first | result["before"] | roles).items()]
    rows += [_row(f"  {name}", other, result["metric"]) for name, other in result["others"].items()]
    say("")
    table("", ("", "model", result["metric"], "95 % interval", "parameters", "MACs", "training"), rows)
    if columns := result["data"].get("columns"):
        rows = [(name, *(f"{role['columns'][c]:.4f}" for c in columns)) for name, role in (first | roles).items()]
        table("", (f"{result['metric']} of each label", *columns), rows)
    say("", *_cost(result))
    if said := list(_said(result)):
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
        f"{summary[metric]:.4f}",
        _interval(summary["interval"]) or "– (one seed)",
        number(summary["parameters"]),
        number(summary["macs"]),
        duration(summary["seconds"]) if summary["seconds"] is not None else "",
    )


def _cost(result: dict[str, Any]) -> list[str]:
    """What a step of each training took and held, in one line; none if nothing was trained here."""
    trained = {name: result[role] for role, name in ROLES.items() if result[role] and result[role].get("step_ms")}
    parts = [
        f"{name} {duration(s['step_ms'] / 1000)}, {number(s.get('peak_memory_mb'))} MB" for name, s in trained.items()
    ]
    of = {s.get("peak_memory_of") for s in trained.values()}
    whose = " of the process so far" if "process so far" in of else ""
    return [f"a step and peak memory{whose}: {'; '.join(parts)}"] if parts else []


def _interval(bounds: list[float] | None, sign: str = "") -> str:
    return "" if bounds is None else f"{bounds[0]:{sign}.4f} … {bounds[1]:{sign}.4f}"


def _said(result: dict[str, Any]) -> Iterator[str]:
    """What the figures say: the verdict and its doubts, and whether the teacher is worse than the student alone."""
    if gain := result["gain"]:
        yield _sentence(result, gain)
        if few := doubts(gain["values"]):
            yield f"{few[0].upper()}{few[1:]}: seeds=5."
    teacher, alone = ((result[role] or {}).get(result["metric"]) for role in ("teacher", "alone"))
    if worse(teacher, alone, result["higher_is_better"]):
        yield (
            f"warning: the teacher is worse than the student trained alone ({result['metric']} {teacher:.4f} against "
            f"{alone:.4f}): train it longer (teacher_epochs), or take a better one."
        )


def _sentence(result: dict[str, Any], gain: dict[str, Any]) -> str:
    """The verdict, with the gain and its interval, or why there is none."""
    seeds = len(gain["values"])
    if gain["interval"] is None:
        return f"Undecided whether teaching helped: gain {gain['mean']:+.4f} from one seed; seeds=5 gives an interval."
    where = f"95 % interval {_interval(gain['interval'], '+')} over {seeds} seeds"
    return f"{VERDICTS[gain['verdict']]}: {result['metric']} {gain['mean']:+.4f} ({where})."
