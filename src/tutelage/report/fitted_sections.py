"""The section on a student that was fitted: its rules, its fidelity to the teacher, and how stable its splits are."""

from __future__ import annotations

from typing import Any

from tutelage.data.value_targets import ValueTargets
from tutelage.errors import TutelageError
from tutelage.models import serialization
from tutelage.models.estimators import FittedEstimator, quality, rules
from tutelage.models.estimators.module import rescaled
from tutelage.report.components import (
    Block,
    Code,
    MissingDataError,
    PropertyList,
    Section,
    WideFigure,
    WideTable,
    format_decimal,
    format_percent,
)
from tutelage.report.run_record import PhaseRecord, RunRecord

SIZES = {"trees": "trees", "depth": "depth", "leaves": "leaves", "weights": "weights"}
FIDELITY = {
    "agreement": "samples with the teacher's class",
    "kl": "mean divergence KL(teacher ‖ student)",
    "r2": "variance of the teacher's values that it explains",
    "rmse": "root mean squared difference from the teacher, in standard deviations of the target",
}


def is_fitted(run: RunRecord) -> bool:
    """Return True if the student, or the student alone, was fitted in one go."""
    return any("fit" in phase.info for phase in run.phases if phase.role in ("student", "baseline"))


def fitted(run: RunRecord) -> Section:
    """Build the section from the first seed of the student, or of the student alone."""
    phases = [p for role in ("student", "baseline") for p in run.phases_with_role(role) if "fit" in p.info]
    if not phases:
        raise MissingDataError("no student was fitted in one go")
    phase = phases[0]
    facts = phase.info["fit"]
    blocks: list[Block] = [PropertyList("Size and fidelity", _facts(facts)), *_rules(run, phase)]
    if "stability" in facts:
        blocks.append(_stability(facts["stability"]))
    lead = "Of the first seed. The shares are of the samples that it was fitted to."
    return Section("Rules and fidelity", lead, blocks)


def _facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    size = [(label, f"{facts['size'][key]:,}") for key, label in SIZES.items() if key in facts["size"]]
    shown = {"agreement": format_percent, "r2": format_decimal, "kl": format_decimal, "rmse": format_decimal}
    measured = facts.get("fidelity") or {}
    fidelity = [(label, shown[key](measured[key])) for key, label in FIDELITY.items() if key in measured]
    return [*size, *fidelity, *((key, f"{value:g}") for key, value in facts["options"].items())]


def _rules(run: RunRecord, phase: PhaseRecord) -> list[Block]:
    """Return the rules as text, and a tree also as a drawing; they are made again from the checked file."""
    try:
        student = serialization.load(run.path / phase.folder / "model.safetensors")
    except TutelageError as error:
        raise MissingDataError(f"{phase.folder}/model.safetensors can't be read ({error})") from error
    if not isinstance(student, FittedEstimator):
        raise MissingDataError(f"{phase.folder}/model.safetensors holds a network")
    card: Any = student.card
    if card.values:
        means, stds = zip(*card.values.values(), strict=True)
        values = ValueTargets(tuple(card.values), means, stds)
        student = rescaled(student, values.mean, values.std)
    blocks: list[Block] = [Code("The rules, also in rules.txt", rules.write_rules(student))]
    if quality.size(student).get("trees") == 1:
        caption = "The first levels. A sample takes the upper branch if the condition holds."
        blocks.insert(0, WideFigure("The tree", rules.draw_tree(student), caption))
    return blocks


def _stability(stability: dict[str, Any]) -> Block:
    rows = [
        [
            split["place"],
            rules.name(str(split["column"])),
            format_percent(split["share"]),
            rules.number_text(split["middle"]),
            f"{rules.number_text(split['low'])} … {rules.number_text(split['high'])}",
        ]
        for split in stability["splits"]
    ]
    head = ["Split", "Column", "Resamples with it", "Median threshold", "Quartiles"]
    title = f"Stability of the splits over {stability['resamples']} bootstrap resamples"
    return WideTable(title, head, rows)
