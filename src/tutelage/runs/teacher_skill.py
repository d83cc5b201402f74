"""Checks that a teacher that came trained is good at the data that it is to teach; for `check` and every run."""

from __future__ import annotations

from dataclasses import replace

from tutelage.config.schema import Config
from tutelage.config.stages import is_stage
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.runs.dry_run import DryRun
from tutelage.runs.inputs import RunInputs
from tutelage.runs.phase import evaluate_split, fits_task
from tutelage.runs.plan import RunPlan
from tutelage.schemes.base import Scheme
from tutelage.tasks.class_checks import spread_part
from tutelage.teachers.base import Teacher
from tutelage.teachers.frozen import describe_untrained_layers
from tutelage.utils.finding import Finding


def refuse_poor_teacher(inputs: RunInputs, plan: RunPlan, trial: DryRun | None) -> None:
    """Refuse a teacher that came trained and can't teach; send a warning if it is doubtful.

    Raises: ConfigError for the errors of `check`: its classifier is new, or `teacher_weights` names its weights and its
        accuracy is at chance.
    """
    if trial is None:  # the student is fitted
        return
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
    if not fits_task(teacher, data, inputs.task):
        return [Finding("ok", "the teacher teaches by its features alone; its outputs don't fit the task")]
    findings = _measured(inputs, teacher, data)
    certain = needs_responses and inputs.config.teacher_weights is not None  # a run or a module may be meant as it is
    return findings if certain else [replace(x, level="warning") if x.level == "error" else x for x in findings]


def is_trained(plan: RunPlan, config: Config) -> bool:
    """Return whether a teacher is trained in the run."""
    members = any(phase.role == "member" for phase in plan.phases())
    return members or plan.teacher_is_trained() or any(is_stage(name) for name in config.teacher_names)


def _names(config: Config) -> str:
    return " + ".join(config.teacher_names)


def _measured(inputs: RunInputs, teacher: Teacher, data: DataModule) -> list[Finding]:
    """Judge the teacher by its metrics on a part of the validation split."""
    task, part = inputs.task, replace(data, val=spread_part(data.val))
    result = evaluate_split(teacher.to(inputs.fabric.device), part, task, "val", inputs.config.batch_size)
    return task.judge_teacher(result.values, result.tables, data.labelled)
