"""The sections on what came out: the verdict, the summaries, what was done, what it cost."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from tutelage.report.again import BUDGET, command
from tutelage.report.components import (
    NB,
    Block,
    Code,
    Facts,
    Figure,
    Folded,
    Missing,
    Section,
    SummaryCard,
    Table,
    Text,
    WideTable,
    count,
    decimal,
    duration,
    is_interval,
    is_number,
    mean,
    share,
)
from tutelage.report.run_record import ROLES, RunRecord
from tutelage.report.svg_charts import ChartRow, intervals
from tutelage.utils.intervals import doubts, worse

BADGES = {"beats": "Teaching helped", "worse": "Teaching made it worse", "undecided": "Undecided"}


def student_name(run: RunRecord) -> str:
    """The student as the run names it."""
    return model_name(run, "student") or model_name(run, "alone") or "the student"


def model_name(run: RunRecord, role: str) -> str | None:
    """A role's model as the configuration or the result names it; members of an ensemble are added up."""
    named = run.config.get("teacher" if role == "teacher" else "student") or run.summary(role).get("model")
    return " + ".join(map(str, named)) if isinstance(named, list) else str(named) if named else None


def verdict(run: RunRecord) -> tuple[str, str, str]:
    """(tone, badge, one sentence): what may be said of teaching, and how sure it is."""
    gain, name, unit = run.result.get("gain"), student_name(run), run.unit
    reached = {role: unit(run.summary(role).get(run.metric)) for role in ROLES}
    if not gain:
        role = "student" if run.summary("student") else "alone" if run.summary("alone") else "teacher"
        said = {"teacher": "The teacher", "the student": "The student"}.get(role if role == "teacher" else name, name)
        return (
            "none",
            "Not compared",
            (
                f"{said} reaches {reached[role]} {run.metric}{_samples(run)}. "
                "This run makes no comparison, so it says nothing of whether teaching helps."
            ),
        )
    seeds = len(gain.get("values") or [])
    seeds_said = f"{seeds} seed{'s' if seeds != 1 else ''}"
    bounds = gain.get("interval")
    sure = "one seed gives no interval" if seeds == 1 else f"no interval, {seeds_said}"
    if is_interval(bounds):
        low, high = (unit.difference(bound) for bound in bounds)
        sure = f"95{NB}% interval {low} to {high}, {seeds_said}"
    few = doubts(gain.get("values") or [])
    both = f"Taught, {name} reaches {reached['student']} {run.metric}, against {reached['alone']} trained alone"
    difference = f"{unit.difference(gain.get('mean'))}{unit.points} ({sure})"
    kind, higher = str(gain.get("verdict")), run.result.get("higher_is_better", True)
    sentence = {
        "beats": f"{both}: a {'gain' if higher else 'difference'} of {difference}, so teaching helped.",
        "worse": f"{both}: a difference of {difference}, so the taught student is worse.",
    }.get(kind, f"{both}: a difference of {difference}, {_zero(bounds)} to say whether teaching helps.")
    return kind, BADGES.get(kind, "Undecided"), sentence + (f" {few[0].upper()}{few[1:]}." if few else "")


def headline(run: RunRecord) -> str:
    """What came out, in two or three words: the gain, or the figure where nothing was compared."""
    gain, unit = run.result.get("gain"), run.unit
    if not gain:
        role = next((role for role in ("student", "alone", "teacher") if run.summary(role)), "student")
        return f"{unit(run.summary(role).get(run.metric))} {run.metric}"
    unsure = ", undecided" if gain.get("verdict") not in ("beats", "worse") else ""
    return f"{unit.difference(gain.get('mean'))}{unit.points or f' {run.metric}'}{unsure}"


def _zero(bounds: Any) -> str:
    crosses = is_interval(bounds) and bounds[0] <= 0 <= bounds[1]
    return "which doesn't exclude zero: too little" if crosses else "too little"


def _samples(run: RunRecord) -> str:
    size = run.data.get("test")
    return f" on {size} test samples" if size else ""


def result(run: RunRecord) -> Section:
    """Summary cards, each seed with the means and intervals, and the seeds side by side."""
    roles = [role for role in ROLES if is_number(run.summary(role).get(run.metric))]
    if not roles:
        raise Missing(f"result.json holds no {run.metric}")
    rows = [_row(run, role) for role in roles]
    table = Table(
        "Figures by model",
        ["Model", run.metric, "95 % interval", "Seeds"],
        [
            *([r.label, run.unit(r.mean), run.unit.interval(r.interval) or "–", len(r.values)] for r in rows),
            *_others(run),
        ],
    )
    within = (0.0, 1.0) if run.unit.percent else (-math.inf, math.inf)
    drawing = intervals(
        f"{run.metric} of each model by seed", rows, f"test {run.metric}", run.unit, run.unit.tick, within
    )
    figure = Figure(
        f"Test {run.metric} by seed",
        drawing,
        "Dots: seeds. Upright bar: their mean. Line: its 95 % interval.",
        [(r.style, r.label) for r in rows],
        table,
    )
    blocks: list[Block] = [*_weak(run), *(_card(run, role) for role in roles), figure, *_columns(run, roles)]
    return Section("Result", _ratio(run), [*blocks, *_pairs(run)])


def _weak(run: RunRecord) -> list[Block]:
    """A warning where the teacher is worse than the student alone."""
    teacher, alone = (run.summary(role).get(run.metric) for role in ("teacher", "alone"))
    if not (
        is_number(teacher) and is_number(alone) and worse(teacher, alone, run.result.get("higher_is_better", True))
    ):
        return []
    return [
        Text(
            f"The teacher is worse than the student trained alone ({run.unit(teacher)} against {run.unit(alone)} "
            f"{run.metric}): train it longer (teacher_epochs), or take a better one.",
            "warning",
        )
    ]


def _columns(run: RunRecord, roles: list[str]) -> list[Block]:
    """Each label column's figures by model, if there are several."""
    figures = [run.summary(role).get("columns") or {} for role in roles]
    if not any(figures):
        return []
    rows = [[name, *(run.unit(found.get(name)) for found in figures)] for name in max(figures, key=len)]
    return [Table(f"Test {run.metric} by label column", ["Label", *map(run.label, roles)], rows)]


def _others(run: RunRecord) -> list[list[Any]]:
    """Rows of what was trained before, and of the students beside the first."""
    return [
        [
            f"{name} ({', '.join([other.get('model', '–'), *_classes(other)])})",
            run.unit(other.get(run.metric)),
            run.unit.interval(other.get("interval")) or "–",
            len(other.get("values") or []),
        ]
        for name, other in ({**(run.result.get("before") or {}), **(run.result.get("others") or {})}).items()
    ]


def _classes(summary: dict[str, Any]) -> list[str]:
    """The classes of a training that knew only some."""
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
    macs = summary.get("macs", phases[0].facts.get("macs") if phases else None)
    facts = [
        ("Parameters", count(summary.get("parameters"))),
        ("MACs", count(macs)),
        ("Training time", duration(summary["seconds"]) if is_number(summary.get("seconds")) else "came trained"),
    ]
    if is_number(summary.get("latency_ms")):
        facts.append(("One image takes", duration(summary["latency_ms"] / 1000)))
    model = model_name(run, role) or "–"
    return SummaryCard(role, run.label(role), model, run.unit(summary.get(run.metric)), below, facts)


def _ratio(run: RunRecord) -> str:
    """What the student saves against the teacher, and what it keeps."""
    student = run.summary("student") or run.summary("alone")
    large, small = run.summary("teacher").get("parameters"), student.get("parameters")
    if not (is_number(large) and is_number(small) and large and small):
        return ""
    if large < small:
        return f"The student has {small / large:.3g} times the teacher's parameters."
    text = f"The student has {large / small:.3g} times fewer parameters than the teacher"
    theirs, its = run.summary("teacher").get(run.metric), student.get(run.metric)
    if run.unit.percent and is_number(theirs) and is_number(its) and theirs:
        kept = f"{100 * its / theirs:.1f} % of its {run.metric}"
        return f"{text} and reaches {kept if its <= theirs else f'{run.unit(its)} against its {run.unit(theirs)}'}."
    return f"{text}."


def _pairs(run: RunRecord) -> list[Block]:
    gain = run.result.get("gain") or {}
    differences = gain.get("values") or []
    if not differences:
        return []
    seeds = [phase.seed for phase in run.phases_with_role("student")]
    alone, taught = (run.summary(role).get("values") or [] for role in ("alone", "student"))
    unit = run.unit
    rows = [
        [
            seeds[i] if i < len(seeds) else str(i),
            unit(alone[i] if i < len(alone) else None),
            unit(taught[i] if i < len(taught) else None),
            f"{unit.difference(value)}{unit.points}",
        ]
        for i, value in enumerate(differences)
    ]
    rows.append(["Mean", unit(mean(alone)), unit(mean(taught)), f"{unit.difference(gain.get('mean'))}{unit.points}"])
    return [Table("The same seeds, alone and taught", ["Seed", "Alone", "Taught", "Difference"], rows)]


def done(run: RunRecord) -> Section:
    """The terms and layer pairs, the request in short, and the command that repeats it."""
    facts = next((p.facts for role in ("student", "alone", "teacher") for p in run.phases_with_role(role)), {})
    blocks: list[Block] = []
    asked = [(name.replace("_", " "), _said(run.config[name])) for name in BUDGET if run.config.get(name) is not None]
    if isinstance(run.config.get("teacher"), list) and run.config.get("ensemble"):
        asked.insert(1, ("ensemble", _said(run.config["ensemble"])))
    if run.data:
        asked.append(("samples", ", ".join(f"{run.data[s]} {s}" for s in ("train", "val", "test") if run.data.get(s))))
    if run.result.get("chosen"):
        asked.append(("weights kept", str(run.result["chosen"])))
    if asked:
        blocks.append(Facts("The request", asked))
    terms = [
        [
            t.get("name", "–"),
            decimal(t.get("weight")) if is_number(t.get("weight")) else str(t.get("weight", "–")),
            t.get("formula", ""),
            _options(t.get("options") or {}),
            t.get("paper", ""),
        ]
        for t in facts.get("terms") or []
    ]
    if terms:
        head = ["Term", "Weight", "Formula", "Options", "Paper"]
        blocks.append(WideTable("What the student minimised: the weighted sum of these terms", head, terms))
    pairs = facts.get("pairs") or []
    if pairs:
        blocks.append(Table("Layers that were compared", ["Student", "Teacher"], [list(pair) for pair in pairs]))
    again = command(run.config)
    if again:
        blocks.append(Code("Run it again", again))
    if not blocks:
        raise Missing("the folder holds neither config.yaml nor a phase with terms")
    return Section("What was done", "", blocks)


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_said(value)}" for name, value in options.items())


def costs(run: RunRecord) -> Section:
    """What each kind of training took."""
    if not run.phases:
        raise Missing("the folder holds no phase.json")
    rows = []
    trained = {run.label(role): run.phases_with_role(role) for role in ROLES if run.phases_with_role(role)}
    before = {name: run.called(name) for name in run.result.get("before") or {}}
    for label, phases in (trained | before).items():
        facts = [phase.facts for phase in phases]
        if facts:
            average = {name: mean([f.get(name) for f in facts]) for name in COSTS}
            taken = [f["seconds"] for f in facts if is_number(f.get("seconds"))]
            total = duration(sum(taken)) if taken else "came trained"
            rows.append([label, len(facts), *(say(average[name]) for name, say in COSTS.items()), total])
    head = ["Model", "Runs", "Epochs", "Steps", "Time", "Step", "Teacher's share", "Peak memory", "All runs"]
    slow = _slowdown(run)
    so_far = any(phase.facts.get("peak_memory_of") == "process so far" for phase in run.phases)
    whose = "Peak memory is that of the process so far: of its earlier trainings too. " if so_far else ""
    return Section("Costs", f"Means over seeds. {whose}{slow}".strip(), [WideTable("Training costs", head, rows)])


COSTS: dict[str, Callable[[Any], str]] = {
    "epochs": decimal,
    "steps": decimal,
    "seconds": duration,
    "step_ms": lambda value: duration(value / 1000) if is_number(value) else "–",
    "teacher_share": share,
    "peak_memory_mb": lambda value: f"{value:,.0f}{NB}MB" if is_number(value) else "–",
}


def _slowdown(run: RunRecord) -> str:
    alone, taught = (
        mean([p.facts.get("step_ms") for p in run.phases_with_role(role)]) for role in ("alone", "student")
    )
    return f"A taught step took {taught / alone:.2f} times a step of training alone." if alone and taught else ""


def settings(run: RunRecord) -> Section:
    """Everything that was asked for, and where it ran."""
    tables = [
        Table(caption, ["Name", "Value"], [[name, _said(value)] for name, value in values.items()])
        for caption, values in (("Configuration", run.config), ("Environment", run.environment))
        if values
    ]
    if not tables:
        raise Missing("the folder holds neither config.yaml nor environment.json")
    return Section("Configuration and environment", "", [Folded(table) for table in tables])


def notes(run: RunRecord, missing: list[tuple[str, str]]) -> Section | None:
    """What isn't in the report, and why."""
    said = [*run.notes, *(f"{title}: {why}." for title, why in missing)]
    return Section("Left out", "", [Text(note, "note") for note in said]) if said else None
