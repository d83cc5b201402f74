"""The capacity gap: how much smaller the student is, how well it fits its teacher, and whether to use an assistant."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from tutelage.errors import ConfigError
from tutelage.explanation.agreement import fidelity
from tutelage.explanation.base import Explanation, NotApplicable, OverSeeds, Words
from tutelage.explanation.classes import class_rows
from tutelage.explanation.opened_run import OpenedRun
from tutelage.recipes._defaults import assistants_between
from tutelage.report.components import Unit, format_count, format_percent
from tutelage.runs.profiling import as_network, macs
from tutelage.training.evaluation import evaluate
from tutelage.utils.checksums import read_verified

MIRZADEH = (
    "Mirzadeh, Farajtabar, Li, Levine, Matsukawa, Ghasemzadeh. Improved knowledge distillation via teacher assistant. "
    "AAAI 2020"
)
SIZES = Words(
    "sizes",
    "Size and fit",
    "A student that is no better on its training samples than on new ones is limited by its size or its training, not "
    "by too few samples.",
    f"{MIRZADEH}; Cho, Hariharan. On the efficacy of knowledge distillation. ICCV 2019",
)
GAP = Words(
    "gap",
    "Does the student fit its teacher?",
    "A capacity gap shows as disagreement with the teacher on training samples: there the student had the teacher's "
    "answers, and couldn't take them over.",
    f"{MIRZADEH}; Stanton, Izmailov, Kirichenko, Alemi, Wilson. NeurIPS 2021, on what else may hinder it",
)
CLOSE, LARGE, FITTED, MOST = 2.0, 4.0, 0.98, 0.5
"""Size ratios below which there is no gap, and from which there may be one; the agreement on training samples that is
a fit; and the share of the disagreement on test samples that must be there on training samples too."""


@dataclass(frozen=True)
class Fit:
    """A student's size in relation to its teacher's, and its agreement with it on training and test samples."""

    ratio: float
    train: OverSeeds
    test: OverSeeds


def judge(fit: Fit) -> tuple[str, bool | None]:
    """Return what the numbers support, in a sentence, and whether an assistant may help (None: they don't decide)."""
    agreement = format_percent(fit.train.mean)
    if fit.train.mean >= FITTED:
        return f"the student agrees with its teacher on {agreement} of the training samples: it isn't too small.", False
    if fit.ratio < CLOSE:
        return f"the teacher is {fit.ratio:.3g} times as large as the student: there is no gap to bridge.", False
    share = min((1 - fit.train.mean) / max(1 - fit.test.mean, 1e-12), 1.0)
    basis = f"the student disagrees with its teacher on {format_percent(1 - fit.train.mean)} of the training samples"
    if share < MOST:
        return (
            f"{basis}, and on {format_percent(1 - fit.test.mean)} of the test samples: most of it appears on new "
            "samples only, for which more data or augmentation is the usual mend. The numbers don't support a capacity "
            "gap.",
            None,
        )
    if fit.ratio < LARGE:
        return f"{basis}, but is no more than {fit.ratio:.3g} times smaller: the numbers don't decide.", None
    return (
        f"{basis}, which is {format_percent(share)} of its disagreement on test samples, and the teacher is "
        f"{fit.ratio:.3g} times as large: consistent with a capacity gap, or with too short a training. Only a run "
        "with an assistant, or with more epochs, decides.",
        True,
    )


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figures of capacity."""
    result = json.loads(read_verified(opened.folder / "result.json"))
    sizes = _sizes(opened, result)
    if "teacher" not in opened.networks:
        return [sizes]
    try:
        return [_gap(opened), sizes]
    except NotApplicable:
        return [sizes]


def _sizes(opened: OpenedRun, result: dict[str, Any]) -> Explanation:
    metric = opened.task.metric
    values: dict[str, dict[str, Any]] = {}
    for role, networks in opened.networks.items():
        size = {"parameters": _count(networks[0]), "MACs": macs(networks[0], opened.data)}
        of_splits = {split: _metric(opened, networks[0], split) for split in ("train", "test")}
        values[role] = size | {f"{metric} on {split}": value for split, value in of_splits.items()}
    names = [*next(iter(values.values()))]
    write = {name: format_count if name in ("parameters", "MACs") else unit_of(result) for name in names}
    rows = [[name, *(write[name](of_role[name]) for of_role in values.values())] for name in names]
    head = ["", *(opened.labels[role] for role in values)]
    note = "The first seed's networks; training samples without augmentation."
    return SIZES.as_table(head, rows, values, note)


def unit_of(result: dict[str, Any]) -> Unit:
    """Return the format of the run's metric."""
    values = [(result[role] or {}).get(result["metric"]) for role in ("teacher", "baseline", "student")]
    return Unit.of((value for value in values if value is not None), result["higher_is_better"])


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _metric(opened: OpenedRun, network: nn.Module, split: str) -> float | None:
    """Return the task's metric on a part of a split; None if it isn't one of responses, or they don't fit the task."""
    data, _ = opened.part(split)
    first = next(iter(opened.batches(data, split, network)))
    if not opened.task.fits(opened.respond(network, first), opened.outputs):
        return None
    batches = opened.batches(data, split, network)
    return evaluate(as_network(network), batches, opened.task, opened.outputs).values.get(opened.task.metric)


def _gap(opened: OpenedRun) -> Explanation:
    """Return agreement and KL with the teacher on training and test samples, and what they support."""
    splits = {split: class_rows(opened, split, teacher=True).to_teacher(fidelity) for split in ("train", "test")}
    values = {
        role: {
            f"{name} on {split}": of_role[role][name]
            for name in ("agreement", "KL")
            for split, of_role in splits.items()
        }
        for role in opened.students
    }
    large, small = (_count(opened.networks[role][0]) for role in ("teacher", "student"))
    if not large or not small:
        raise NotApplicable("a model has no parameters")
    taught = values["student"]
    sentence, helps = judge(Fit(large / small, taught["agreement on train"], taught["agreement on test"]))
    assistant = {"parameters": round(math.sqrt(large * small)), "model": _assistant(opened)}
    if helps:
        name = f", such as {assistant['model']}" if assistant["model"] else ""
        sentence += (
            f" An assistant would have about {format_count(assistant['parameters'])} parameters{name} (method=takd)."
        )
    numbers = {**values, "ratio": large / small, "assistant": assistant, "assistant may help": helps}
    shown = GAP.as_numbers(opened.labels, values, sentence[0].upper() + sentence[1:])
    return Explanation(shown.name, numbers, shown.block, shown.meaning, shown.source, shown.reading)


def _assistant(opened: OpenedRun) -> str | None:
    """Return the model of the family between teacher and student, if there is one."""
    try:
        return assistants_between(opened.run.config.teacher, opened.run.config.student, 1)[0]
    except ConfigError:
        return None
