"""The result of a run: each role's metrics over seeds, the gain with its interval, and samples that illustrate it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.runs import examples
from tutelage.runs.phase import read_phase
from tutelage.tasks.base import Task
from tutelage.utils import checksums
from tutelage.utils.intervals import confidence_interval, is_worse, paired_differences, verdict


def write(folder: Path, config: Config, data: DataModule, task: Task) -> dict[str, Any]:
    """Gather the phases into result.json and examples.npz, and return the result."""
    phases = [read_phase(path) for path in sorted(folder.glob("*/phase.json"), key=lambda p: (len(p.parent.name), p))]
    result: dict[str, Any] = {
        "task": data.task,
        "metric": task.metric,
        "higher_is_better": task.higher_is_better,
        "usage": task.usage,
        "judged_on": data.judged_on,
        "data": {
            "name": data.name,
            **{split: len(getattr(data, split)) for split in data.splits},
            "classes": list(data.classes),
            "channels": data.channels,
            "size": list(data.size),
            "columns": dict(data.columns),
            "modality": data.modality,
            "streams": [asdict(stream) for stream in data.streams],
            "values": [] if data.values is None else list(data.values.names),
            **({} if data.map_form is None else {"maps": data.map_form.shown(data.values)}),
        },
    }
    for role in ("teacher", "baseline", "student"):
        result[role] = _summary([p for p in phases if p["role"] == role], task.metric)
    result["before"] = _before(phases, list(config.stage_overrides()), task.metric)
    result["others"] = _others([p for p in phases if p["role"] == "student"], task.metric)
    result["gain"] = _gain(result, task)
    teacher, baseline = ((result[role] or {}).get(task.metric) for role in ("teacher", "baseline"))
    result["teacher_is_worse"] = is_worse(teacher, baseline, task.higher_is_better)
    result["choice"] = read_choice(config)
    result["chosen"] = "best on validation" if config.keep == "best" else "last epoch"
    checksums.write_recorded(folder / "result.json", json.dumps(result, indent=1))
    examples.write(folder, data)
    return result


def read_choice(config: Config) -> dict[str, Any] | None:
    """Return how the method was chosen, without the configuration; None if nothing chose it."""
    if config.chosen_by is None:
        return None
    choice = json.loads(checksums.read_verified(Path(config.chosen_by)))
    return {key: value for key, value in choice.items() if key != "config"}


def _summary(phases: list[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    if not phases:
        return None
    values = [p["figures"][metric] for p in phases if metric in p["figures"]]  # none, of a teacher of other classes
    columns = [key for key in phases[0]["figures"] if key.startswith(f"{metric}/")]
    trained = [p for p in phases if "seconds" in p]
    return {
        metric: _mean(values),
        "values": values,
        "interval": confidence_interval(values),
        "columns": {key.partition("/")[2]: _mean([p["figures"][key] for p in phases]) for key in columns},
        "model": phases[0]["model"],
        "parameters": phases[0]["parameters"],
        "macs": phases[0]["macs"],
        "latency_ms": phases[0].get("latency_ms"),
        **{key: _mean([p.get(key) for p in trained]) for key in ("seconds", "step_ms", "peak_memory_mb")},
        "peak_memory_of": trained[0].get("peak_memory_of") if trained else None,
    }


def _before(phases: list[dict[str, Any]], stages: list[str], metric: str) -> dict[str, dict[str, Any]]:
    """Summarise the other trainings, in order: the members of several teachers, and the stages, by name."""
    members = {p["name"]: [p] for p in phases if p["role"] == "member"}
    by_stage = {name: [p for p in phases if p["name"].rpartition("-")[0] == name] for name in stages}
    values = {name: _summary(trained, metric) or {} for name, trained in {**members, **by_stage}.items()}
    return {name: summary | _classes(members.get(name, [])) for name, summary in values.items()}


def _classes(phases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the classes of a training that had only some of them."""
    return {"classes": phases[0]["classes"]} if phases and "classes" in phases[0] else {}


def _others(phases: list[dict[str, Any]], metric: str) -> dict[str, dict[str, Any]]:
    """Summarise the students after the first (peers, and those on the same batches), by name."""
    return {
        name: _summary([p["others"][name] for p in phases], metric) or {}
        for name in (phases[0].get("others", {}) if phases else {})
    }


def _mean(values: list[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return fmean(measured) if measured else None


def _gain(result: dict[str, Any], task: Task) -> dict[str, Any] | None:
    baseline, student = result["baseline"], result["student"]
    if baseline is None or student is None:
        return None
    gains = paired_differences(student["values"], baseline["values"])
    return {
        "mean": fmean(gains),
        "interval": confidence_interval(gains),
        "values": gains,
        "verdict": verdict(gains, task.higher_is_better),
    }
