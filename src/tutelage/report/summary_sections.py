"""The sections on the result: the verdict, the summaries, the method and settings, and the costs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from tutelage.report.components import (
    NB,
    Block,
    Code,
    CollapsedTable,
    Figure,
    MissingDataError,
    PropertyList,
    Section,
    SummaryCard,
    Table,
    Text,
    Unit,
    WideTable,
    format_count,
    format_decimal,
    format_duration,
    format_percent,
    is_interval,
    is_number,
    mean,
)
from tutelage.report.run_record import ROLES, RunRecord
from tutelage.report.svg_charts import ChartRow, draw_intervals
from tutelage.utils.intervals import interval_caveat, is_worse

BADGES = {"beats": "Teaching helped", "worse": "Teaching made it worse", "undecided": "Undecided"}

FIRST_KEYS = (
    "teacher",
    "student",
    "data",
    "recipe",
    "method",
    "task",
    "epochs",
    "batch_size",
    "mix",
    "lr",
    "seed",
    "seeds",
)
"""The keys of the configuration that are listed first."""


def student_name(run: RunRecord) -> str:
    """Return the student's name in the run."""
    return model_name(run, "student") or model_name(run, "baseline") or "the student"


def model_name(run: RunRecord, role: str) -> str | None:
    """Return the name of a role's model in the configuration or result; for an ensemble, the members joined by "+"."""
    names = run.config.get("teacher" if role == "teacher" else "student") or run.summary(role).get("model")
    networks = names if isinstance(names, list) else [names] if names else []
    return " + ".join(str(x.get("model", x.get("name")) if isinstance(x, dict) else x) for x in networks) or None


def verdict(run: RunRecord) -> tuple[str, str, str]:
    """Return (tone, badge, sentence): whether teaching helped, and how certain that is."""
    gain, name, unit = run.result.get("gain"), student_name(run), run.unit
    reached = {role: unit(run.summary(role).get(run.metric)) for role in ROLES}
    if not gain:
        return "none", "Not compared", _without_comparison(run, reached)
    doubt = interval_caveat(gain.get("values") or [])
    both = f"Taught, {name} reaches {reached['student']} {run.metric}, against {reached['baseline']} trained alone"
    difference = f"{unit.difference(gain.get('mean'))}{unit.points} ({_certainty(gain, unit)})"
    kind, higher = str(gain.get("verdict")), run.result.get("higher_is_better", True)
    sentence = {
        "beats": f"{both}: a {'gain' if higher else 'difference'} of {difference}, so teaching helped.",
        "worse": f"{both}: a difference of {difference}, so the taught student is worse.",
    }.get(
        kind,
        f"{both}: a difference of {difference}, {_insufficiency(gain.get('interval'))} to decide whether teaching "
        "helps.",
    )
    return kind, BADGES.get(kind, "Undecided"), sentence + (f" {doubt[0].upper()}{doubt[1:]}." if doubt else "")


def _without_comparison(run: RunRecord, reached: Mapping[str, str]) -> str:
    role = next((role for role in ("student", "baseline") if run.summary(role)), "teacher")
    name = "the teacher" if role == "teacher" else student_name(run)
    subject = {"the teacher": "The teacher", "the student": "The student"}.get(name, name)
    return (
        f"{subject} reaches {reached[role]} {run.metric}{_samples(run)}. "
        "This run has no comparison, so it can't show whether teaching helps."
    )


def _certainty(gain: Mapping[str, Any], unit: Unit) -> str:
    """The interval of the gain and the number of seeds, or why there is no interval."""
    count = len(gain.get("values") or [])
    seeds = f"{count} seed{'s' if count != 1 else ''}"
    bounds = gain.get("interval")
    if is_interval(bounds):
        low, high = (unit.difference(bound) for bound in bounds)
        return f"95{NB}% interval {low} to {high}, {seeds}"
    return "one seed gives no interval" if count == 1 else f"no interval, {seeds}"


def headline(run: RunRecord) -> str:
    """Return the result in two or three words: the gain, or the metric if there is no comparison."""
    gain, unit = run.result.get("gain"), run.unit
    if not gain:
        role = next((role for role in ("student", "baseline", "teacher") if run.summary(role)), "student")
        return f"{unit(run.summary(role).get(run.metric))} {run.metric}"
    suffix = ", undecided" if gain.get("verdict") not in ("beats", "worse") else ""
    return f"{unit.difference(gain.get('mean'))}{unit.points or f' {run.metric}'}{suffix}"


def _insufficiency(bounds: Any) -> str:
    includes_zero = is_interval(bounds) and bounds[0] <= 0 <= bounds[1]
    return "which doesn't exclude zero: too little" if includes_zero else "too little"


def _samples(run: RunRecord) -> str:
    size = run.data.get(str(run.result.get("judged_on", "test")))
    return f" on {size} {run.judged_on} samples" if size else ""


def result(run: RunRecord) -> Section:
    """Build the section of summary cards, metrics by seed with means and intervals, and the seeds in pairs."""
    roles = [role for role in ROLES if is_number(run.summary(role).get(run.metric))]
    if not roles:
        raise MissingDataError(f"result.json has no {run.metric}")
    rows = [_row(run, role) for role in roles]
    table = Table(
        f"{run.judged_on.capitalize()} {run.metric} by model",
        ["Model", run.metric, "95 % interval", "Seeds"],
        [
            *([r.label, run.unit(r.mean), run.unit.interval(r.interval) or "–", len(r.values)] for r in rows),
            *_other_trainings(run),
        ],
    )
    within = (0.0, 1.0) if run.unit.percent else (-math.inf, math.inf)
    drawing = draw_intervals(
        f"{run.metric} of each model by seed", rows, f"{run.judged_on} {run.metric}", run.unit, run.unit.tick, within
    )
    figure = Figure(
        f"{run.judged_on.capitalize()} {run.metric} by seed",
        drawing,
        "Dots: seeds. Vertical bar: their mean. Line: 95 % interval of the mean.",
        [(r.style, r.label) for r in rows],
        table,
    )
    blocks: list[Block] = [*_teacher_warning(run), *(_card(run, role) for role in roles), figure, *_columns(run, roles)]
    return Section("Result", _ratio(run), [*blocks, *_pairs(run)])


def _teacher_warning(run: RunRecord) -> list[Block]:
    """A warning if the teacher is worse than the student alone."""
    teacher, baseline = (run.summary(role).get(run.metric) for role in ("teacher", "baseline"))
    if not (
        is_number(teacher)
        and is_number(baseline)
        and is_worse(teacher, baseline, run.result.get("higher_is_better", True))
    ):
        return []
    return [
        Text(
            f"The teacher is worse than the student trained alone ({run.unit(teacher)} against {run.unit(baseline)} "
            f"{run.metric}): train it longer (teacher_epochs), or use a better one.",
            "warning",
        )
    ]


def _columns(run: RunRecord, roles: list[str]) -> list[Block]:
    """The metric of each label column by model, if there are several columns."""
    columns = [run.summary(role).get("columns") or {} for role in roles]
    if not any(columns):
        return []
    rows = [[name, *(run.unit(values.get(name)) for values in columns)] for name in max(columns, key=len)]
    return [
        Table(f"{run.judged_on.capitalize()} {run.metric} by label column", ["Label", *map(run.label, roles)], rows)
    ]


def _other_trainings(run: RunRecord) -> list[list[Any]]:
    """Rows of the earlier trainings, and of further students."""
    return [
        [
            f"{name} ({', '.join([summary.get('model', '–'), *_classes(summary)])})",
            run.unit(summary.get(run.metric)),
            run.unit.interval(summary.get("interval")) or "–",
            len(summary.get("values") or []),
        ]
        for name, summary in ({**(run.result.get("before") or {}), **(run.result.get("others") or {})}).items()
    ]


def _classes(summary: dict[str, Any]) -> list[str]:
    """The classes of a training on a subset of the classes."""
    names = summary.get("classes") or []
    return [f"classes {' '.join(names)}"] if 0 < len(names) <= 10 else [f"{len(names)} classes"] * bool(names)


def _row(run: RunRecord, role: str) -> ChartRow:
    summary = run.summary(role)
    values = [v for v in summary.get("values") or summary.get("seeds") or [] if is_number(v)]
    bounds = summary.get("interval")
    reached = summary[run.metric]
    interval = (bounds[0], bounds[1]) if is_interval(bounds) else None
    return ChartRow(role, run.label(role), values or [reached], reached, interval)


def _card(run: RunRecord, role: str) -> SummaryCard:
    summary = run.summary(role)
    bounds = run.unit.interval(summary.get("interval"))
    seeds = len(summary.get("values") or summary.get("seeds") or [1])
    below = (
        f"{run.metric}, 95 % interval {bounds}"
        if bounds
        else f"{run.metric}, {'one seed' if seeds == 1 else f'{seeds} seeds'}"
    )
    phases = run.phases_with_role(role)
    macs = summary.get("macs", phases[0].info.get("macs") if phases else None)
    facts = [
        ("Parameters", format_count(summary.get("parameters"))),
        ("MACs", format_count(macs)),
        ("Training time", format_duration(summary["seconds"]) if is_number(summary.get("seconds")) else "pretrained"),
    ]
    if is_number(summary.get("latency_ms")):
        facts.append(("Latency of one image", format_duration(summary["latency_ms"] / 1000)))
    model = model_name(run, role) or "–"
    return SummaryCard(role, run.label(role), model, run.unit(summary.get(run.metric)), below, facts)


def _ratio(run: RunRecord) -> str:
    """Compare the student's parameters and metric with the teacher's, in a sentence."""
    student = run.summary("student") or run.summary("baseline")
    large, small = run.summary("teacher").get("parameters"), student.get("parameters")
    if not (is_number(large) and is_number(small) and large and small):
        return ""
    if large < small:
        return f"The student has {small / large:.3g} times the teacher's parameters."
    text = f"The student has {large / small:.3g} times fewer parameters than the teacher"
    teacher_value, student_value = run.summary("teacher").get(run.metric), student.get(run.metric)
    if run.unit.percent and is_number(teacher_value) and is_number(student_value) and teacher_value:
        kept = f"{100 * student_value / teacher_value:.1f} % of its {run.metric}"
        both = f"{run.unit(student_value)} against its {run.unit(teacher_value)}"
        return f"{text} and reaches {kept if student_value <= teacher_value else both}."
    return f"{text}."


def _pairs(run: RunRecord) -> list[Block]:
    gain = run.result.get("gain") or {}
    differences = gain.get("values") or []
    if not differences:
        return []
    seeds = [phase.seed for phase in run.phases_with_role("student")]
    baseline, taught = (run.summary(role).get("values") or [] for role in ("baseline", "student"))
    unit = run.unit
    rows = [
        [
            seeds[i] if i < len(seeds) else str(i),
            unit(baseline[i] if i < len(baseline) else None),
            unit(taught[i] if i < len(taught) else None),
            f"{unit.difference(value)}{unit.points}",
        ]
        for i, value in enumerate(differences)
    ]
    rows.append(["Mean", unit(mean(baseline)), unit(mean(taught)), f"{unit.difference(gain.get('mean'))}{unit.points}"])
    return [Table("The same seeds, alone and taught", ["Seed", "Alone", "Taught", "Difference"], rows)]


def description(run: RunRecord) -> Section:
    """Build the section of the main settings, the terms, the layer pairs, and the command that repeats the run."""
    phases = [phase for role in ("student", "baseline", "teacher") for phase in run.phases_with_role(role)]
    facts = phases[0].info if phases else {}
    blocks: list[Block] = [*_main_settings(run), *_terms(facts)]
    pairs = facts.get("pairs") or []
    if pairs:
        blocks.append(Table("Compared layers", ["Student", "Teacher"], [list(pair) for pair in pairs]))
    if run.command:
        blocks.append(Code("Run it again", run.command))
    if not blocks:
        raise MissingDataError("the folder has neither config.yaml nor a phase with terms")
    return Section("What was done", "", blocks)


def _main_settings(run: RunRecord) -> list[Block]:
    """The settings of the run's first keys, the sizes of its data, and the weights that were kept."""
    config = run.config
    settings = [(name.replace("_", " "), _format(config[name])) for name in FIRST_KEYS if config.get(name) is not None]
    if isinstance(config.get("teacher"), list) and config.get("ensemble"):
        settings.insert(1, ("ensemble", _format(config["ensemble"])))
    if run.data:
        sizes = ", ".join(f"{run.data[split]} {split}" for split in ("train", "val", "test") if run.data.get(split))
        settings.append(("samples", sizes))
        streams = [
            f"{stream['count']} {stream['name']} ({stream['source']})" for stream in run.data.get("streams") or []
        ]
        settings += [("streams of train", ", ".join(streams))] if streams else []
    if run.result.get("chosen"):
        settings.append(("weights kept", str(run.result["chosen"])))
    return [PropertyList("Settings", settings)] if settings else []


def _terms(facts: Mapping[str, Any]) -> list[Block]:
    """A table of the terms that the student minimised."""
    rows = [
        [
            term.get("name", "–"),
            format_decimal(term.get("weight")) if is_number(term.get("weight")) else str(term.get("weight", "–")),
            term.get("formula", ""),
            _options(term.get("options") or {}),
            term.get("paper", ""),
        ]
        for term in facts.get("terms") or []
    ]
    head = ["Term", "Weight", "Formula", "Options", "Paper"]
    return [WideTable("Minimised loss: the weighted sum of these terms", head, rows)] if rows else []


def _format(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_format(value)}" for name, value in options.items())


def costs(run: RunRecord) -> Section:
    """Build the section on the time and memory of each training."""
    if not run.phases:
        raise MissingDataError("the folder has no phase.json")
    rows = []
    trained = {run.label(role): run.phases_with_role(role) for role in ROLES if run.phases_with_role(role)}
    before = {name: run.phases_named(name) for name in run.result.get("before") or {}}
    for label, phases in (trained | before).items():
        facts = [phase.info for phase in phases]
        if facts:
            average = {name: mean([f.get(name) for f in facts]) for name in COSTS}
            seconds = [f["seconds"] for f in facts if is_number(f.get("seconds"))]
            total = format_duration(sum(seconds)) if seconds else "pretrained"
            rows.append([label, len(facts), *(text(average[name]) for name, text in COSTS.items()), total])
    head = ["Model", "Runs", "Epochs", "Steps", "Time", "Step", "Teacher's share", "Peak memory", "All runs"]
    whole_process = any(phase.info.get("peak_memory_of") == "process so far" for phase in run.phases)
    scope = "Peak memory is that of the process so far, with its earlier trainings. " if whole_process else ""
    return Section(
        "Costs", f"Means over seeds. {scope}{_slowdown(run)}".strip(), [WideTable("Training costs", head, rows)]
    )


COSTS: dict[str, Callable[[Any], str]] = {
    "epochs": format_decimal,
    "steps": format_decimal,
    "seconds": format_duration,
    "step_ms": lambda value: format_duration(value / 1000) if is_number(value) else "–",
    "teacher_share": format_percent,
    "peak_memory_mb": lambda value: f"{value:,.0f}{NB}MB" if is_number(value) else "–",
}


def _slowdown(run: RunRecord) -> str:
    baseline, taught = (
        mean([p.info.get("step_ms") for p in run.phases_with_role(role)]) for role in ("baseline", "student")
    )
    if not (baseline and taught):
        return ""
    return f"A step of the student taught took {taught / baseline:.2f} times as long as a step of the student alone."


def settings(run: RunRecord) -> Section:
    """Build the section of the whole configuration and the environment."""
    tables = [
        Table(caption, ["Name", "Value"], [[name, _format(value)] for name, value in values.items()])
        for caption, values in (("Configuration", run.config), ("Environment", run.environment))
        if values
    ]
    if not tables:
        raise MissingDataError("the folder has neither config.yaml nor environment.json")
    return Section("Configuration and environment", "", [CollapsedTable(table) for table in tables])


def notes(run: RunRecord, missing: list[tuple[str, str]]) -> Section | None:
    """Build the section of missing sections and unreadable files, with the reasons; None if there are none."""
    texts = [*run.notes, *(f"{title}: {why}." for title, why in missing)]
    return Section("Left out", "", [Text(text, "note") for text in texts]) if texts else None
