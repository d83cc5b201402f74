"""Checks that a teacher that came trained is good at the data that it is to teach; for `check` and every run."""

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
from tutelage.runs.phase import evaluate_split, outputs_classes
from tutelage.runs.plan import RunPlan
from tutelage.schemes.base import Scheme
from tutelage.teachers.base import Teacher
from tutelage.teachers.frozen import describe_untrained_layers

EVALUATED_SAMPLES = 2000
"""The number of validation samples on which the teacher is evaluated."""

PIXELS = 16
"""The side of the linear classifier's images."""


def refuse_poor_teacher(inputs: RunInputs, plan: RunPlan, trial: DryRun) -> None:
    """Refuse a teacher that came trained and can't teach; send a warning if it is doubtful.

    Raises: ConfigError for the errors of `check`: its classifier is new, or `teacher_weights` names its weights and its
        accuracy is at chance.
    """
    for finding in judge_teacher(inputs, plan, trial.scheme, trial.data):
        if finding.level == "error":
            raise ConfigError(f"{finding.what}; {finding.mend}")
        if finding.level != "ok":
            inputs.note(f"{finding.what}; {finding.mend}", "warning")


def judge_teacher(inputs: RunInputs, plan: RunPlan, scheme: Scheme, data: DataModule) -> list[Finding]:
    """Judge the teacher's accuracy on the data; a teacher that follows the student isn't judged."""
    teacher: Teacher | None = getattr(scheme, "teacher", None)
    config = plan.config_for(plan.phases()[-1])
    if teacher is None or config.catalogue_teacher is not None:
        return []
    needs_responses = any(terms.needs_responses() for terms in scheme.terms().values())
    if needs_responses and (new := describe_untrained_layers(teacher)):
        mend = "set teacher_epochs=N to fine-tune it on this data first, or give weights of these classes."
        return [
            Finding(
                "error",
                f"teacher={_names(config)} would teach with an untrained classifier: {new}",
                mend,
            )
        ]
    if is_trained(plan, config):
        return [Finding("ok", "the teacher is trained on this data first")]
    if not outputs_classes(teacher, data, inputs.task):
        return [Finding("ok", "the teacher teaches by its features alone; its outputs aren't of these classes")]
    findings = list(_measured(inputs, teacher, data))
    certain = needs_responses and inputs.config.teacher_weights is not None  # a run or a module may be meant as it is
    return findings if certain else [replace(x, level="warning") if x.level == "error" else x for x in findings]


def is_trained(plan: RunPlan, config: Config) -> bool:
    """Return whether a teacher is trained in the run."""
    members = any(phase.role == "member" for phase in plan.phases())
    return members or plan.teacher_is_trained() or any(is_stage(name) for name in config.teacher_names)


def _names(config: Config) -> str:
    return " + ".join(config.teacher_names)


def _measured(inputs: RunInputs, teacher: Teacher, data: DataModule) -> Iterator[Finding]:
    """Judge the teacher by its metrics on a part of the validation split."""
    device = inputs.fabric.device
    evaluation = evaluate_split(
        teacher.to(device), replace(data, val=_part(data.val)), inputs.task, "val", inputs.config.batch_size
    )
    shares = torch.bincount(evaluation.confusion[0], evaluation.confusion[2], len(data.classes)).float()
    for name, span in zip(data.columns, column_slices([*data.columns.values()]), strict=True):
        yield from judge_accuracy(
            evaluation.values[f"accuracy/{name}"], shares[span] / shares[span].sum(), f" in {name}"
        )
    if not data.columns and "accuracy" in evaluation.values:  # a task may measure something else
        yield from judge_accuracy(evaluation.values["accuracy"], shares / shares.sum())
    if data.task == "classification":
        yield from compare_with_linear(evaluation.values["accuracy"], linear_accuracy(data))


def _part(samples: Split) -> Split:
    """Return at most `EVALUATED_SAMPLES` samples, evenly spread."""
    return samples.take(torch.linspace(0, len(samples) - 1, min(EVALUATED_SAMPLES, len(samples))).long())


def judge_accuracy(accuracy: float, shares: Tensor, where: str = "") -> list[Finding]:
    """Compare a trained teacher's accuracy (0…1) with chance and with the most frequent class.

    shares: (C,) each class's share of the samples. where: the label column in words, if there are several.
    """
    majority, chance = float(shares.max()), 1 / len(shares)
    what = f"the teacher's accuracy{where} on the validation split is {accuracy:.3f}, chance is {chance:.3f}"
    mend = (
        "is it trained on these classes, in this order, with this normalisation? Set teacher_epochs to train it first."
    )
    if accuracy < min(1.5 * chance, 0.6):
        return [Finding("error", what, mend)]
    if accuracy <= majority:
        return [Finding("warning", f"{what}, the most frequent class's share {majority:.3f}", mend)]
    return [Finding("ok", what)]


def compare_with_linear(accuracy: float, least: float) -> list[Finding]:
    """Compare a teacher's accuracy with that of a linear classifier, which any student would reach alone."""
    if accuracy >= least:
        return []
    what = f"the teacher's accuracy is {accuracy:.3f}, and that of a linear classifier of small images {least:.3f}"
    return [Finding("warning", what, "the student alone will be better: train it longer, or use a better one.")]


def linear_accuracy(data: DataModule) -> float:
    """Return the validation accuracy of a linear classifier of small images, fitted by ridge regression."""
    from sklearn.linear_model import RidgeClassifier

    subset = replace(data, train=_part(data.train), val=_part(data.val))
    (x, y), (x_val, y_val) = (_small_images(subset, split) for split in ("train", "val"))
    return float(RidgeClassifier().fit(x, y).score(x_val, y_val)) if len(y.unique()) > 1 else 0.0


def _small_images(data: DataModule, split: str) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for batch in data.batches(split, 256, train=False):
        assert isinstance(batch.inputs, Tensor)
        assert batch.targets is not None
        height, width = (min(side, PIXELS) for side in batch.inputs.shape[2:])
        images.append(F.adaptive_avg_pool2d(batch.inputs, (height, width)).flatten(1))
        labels.append(batch.targets)
    return torch.cat(images), torch.cat(labels)
