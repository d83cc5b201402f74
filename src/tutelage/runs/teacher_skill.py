"""Whether a teacher that came trained knows the data that it is to teach; `check` and every run judge by this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.config.schema import Config
from tutelage.config.stages import is_stage
from tutelage.data.data_module import DataModule
from tutelage.data.multitask_targets import column_slices
from tutelage.data.splits import Split
from tutelage.errors import ConfigError
from tutelage.runs.dry_run import DryRun
from tutelage.runs.finding import Finding
from tutelage.runs.inputs import RunInputs
from tutelage.runs.phase import answers_classes, evaluate_split
from tutelage.runs.plan import RunPlan
from tutelage.schemes.base import Scheme
from tutelage.teachers.base import Teacher
from tutelage.teachers.frozen import describe_untrained_layers

LOOKED_AT = 2000
"""Samples that the teacher is tried on."""

PIXELS = 16
"""The side of the images that the linear classifier gets."""


def refuse(inputs: RunInputs, plan: RunPlan, trial: DryRun) -> None:
    """Refuse a teacher that came trained and can't teach; say what is doubtful.

    Raises: ConfigError for what `check` calls an error: its classifier is new, or a file was said to hold its weights
        and they are at chance here.
    """
    for finding in judged(inputs, plan, trial.scheme, trial.data):
        if finding.level == "error":
            raise ConfigError(f"{finding.what}; {finding.mend}")
        if finding.level != "ok":
            inputs.note(f"{finding.what}; {finding.mend}", "warning")


def judged(inputs: RunInputs, plan: RunPlan, scheme: Scheme, data: DataModule) -> list[Finding]:
    """What is to be said of the teacher's skill; nothing of one that follows the student."""
    teacher: Teacher | None = getattr(scheme, "teacher", None)
    config = plan.config_for(plan.phases()[-1])
    if teacher is None or config.catalogue_teacher is not None:
        return []
    needs_responses = any(terms.needs_responses() for terms in scheme.terms().values())
    if needs_responses and (new := describe_untrained_layers(teacher)):
        mend = "say teacher_epochs=N to fine-tune it on this data first, or give weights of these classes."
        return [
            Finding(
                "error", f"teacher={_called(config)} would teach with a classifier that nobody trained: {new}", mend
            )
        ]
    if is_trained(plan, config):
        return [Finding("ok", "the teacher is trained on this data first")]
    if not answers_classes(teacher, data, inputs.task):
        return [Finding("ok", "the teacher teaches by its features alone; what it answers isn't of these classes")]
    findings = list(_measured(inputs, teacher, data))
    certain = needs_responses and inputs.config.teacher_weights is not None  # a run or a module may be meant as it is
    return findings if certain else [replace(x, level="warning") if x.level == "error" else x for x in findings]


def is_trained(plan: RunPlan, config: Config) -> bool:
    """Whether a teacher is trained in the run."""
    members = any(phase.role == "member" for phase in plan.phases())
    return members or plan.teacher_is_trained() or any(is_stage(name) for name in config.teacher_names)


def _called(config: Config) -> str:
    return " + ".join(config.teacher_names)


def _measured(inputs: RunInputs, teacher: Teacher, data: DataModule) -> Iterator[Finding]:
    """By its figures on a part of the validation split."""
    device = inputs.fabric.device
    evaluation = evaluate_split(
        teacher.to(device), replace(data, val=_part(data.val)), inputs.task, "val", inputs.config.batch_size
    )
    shares = torch.bincount(evaluation.confusion[0], evaluation.confusion[2], len(data.classes)).float()
    for name, span in zip(data.columns, column_slices([*data.columns.values()]), strict=True):
        yield from skill(evaluation.values[f"accuracy/{name}"], shares[span] / shares[span].sum(), f" in {name}")
    if not data.columns and "accuracy" in evaluation.values:  # a task may measure something else
        yield from skill(evaluation.values["accuracy"], shares / shares.sum())
    if data.task == "classification":
        yield from beside_linear(evaluation.values["accuracy"], linear(data))


def _part(samples: Split) -> Split:
    """Some of the samples, evenly."""
    return samples.take(torch.linspace(0, len(samples) - 1, min(LOOKED_AT, len(samples))).long())


def skill(accuracy: float, shares: Tensor, where: str = "") -> list[Finding]:
    """Whether a trained teacher knows this data: its accuracy (0…1) against chance and the most frequent class.

    shares: (C,) each class's share of the samples. where: which label column it is, if there are several.
    """
    often, chance = float(shares.max()), 1 / len(shares)
    what = f"the teacher's accuracy{where} on the validation split is {accuracy:.3f}, chance is {chance:.3f}"
    mend = (
        "is it trained on these classes, in this order, with this normalisation? Set teacher_epochs to train it first."
    )
    if accuracy < min(1.5 * chance, 0.6):
        return [Finding("error", what, mend)]
    if accuracy <= often:
        return [Finding("warning", f"{what}, the most frequent class's share {often:.3f}", mend)]
    return [Finding("ok", what)]


def beside_linear(accuracy: float, least: float) -> list[Finding]:
    """Whether a teacher is better than what any student would learn alone."""
    if accuracy >= least:
        return []
    what = f"the teacher's accuracy is {accuracy:.3f}, and that of a linear classifier of small images {least:.3f}"
    return [Finding("warning", what, "the student alone will be better: train it longer, or take a better one.")]


def linear(data: DataModule) -> float:
    """The accuracy on the validation split of a linear classifier of images made small, by ridge regression."""
    from sklearn.linear_model import RidgeClassifier

    few = replace(data, train=_part(data.train), val=_part(data.val))
    (x, y), (seen, truth) = (_small(few, split) for split in ("train", "val"))
    return float(RidgeClassifier().fit(x, y).score(seen, truth)) if len(y.unique()) > 1 else 0.0


def _small(data: DataModule, split: str) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for batch in data.batches(split, 256, train=False):
        assert isinstance(batch.inputs, Tensor)
        assert batch.targets is not None
        height, width = (min(side, PIXELS) for side in batch.inputs.shape[2:])
        images.append(F.adaptive_avg_pool2d(batch.inputs, (height, width)).flatten(1))
        labels.append(batch.targets)
    return torch.cat(images), torch.cat(labels)
