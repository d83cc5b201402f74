"""Checks for the most frequent mistakes in distillation, before anything is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.data.mixing import Mixing
from tutelage.errors import TutelageError
from tutelage.nn.activation_checkpointing import enable_checkpointing
from tutelage.objective.terms import Terms
from tutelage.runs import drawn_batch, first_steps, teacher_skill
from tutelage.runs.profiling import forward_seconds, macs, peak_memory
from tutelage.runs.run import Run
from tutelage.schemes.base import Scheme, display_name, unwrap
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch
from tutelage.tasks.base import Task
from tutelage.teachers.base import Teacher
from tutelage.teachers.frozen import Frozen
from tutelage.training.evaluation import evaluate
from tutelage.training.gradient_norms import gradient_norms
from tutelage.training.optimizers import USUAL_RATES, resolve_settings
from tutelage.utils.finding import Finding, list_first

MAX_NORM_RATIO = 100.0
"""The ratio of two terms' gradient norms above which the smaller term has no effect."""


def settings(config: TrainerSettings, optimised: nn.Module) -> list[Finding]:
    """Check that the learning rate of the student's module, and the length of its training, are usual."""
    name, lr, _ = resolve_settings(config, optimised)
    low, high = USUAL_RATES[name]
    findings = []
    if not low <= lr <= high:
        findings.append(
            Finding("warning", f"lr={lr:g} is unusual for {name}", f"use {low:g} to {high:g}, or the paper's own.")
        )
    if config.epochs < 5:
        findings.append(
            Finding("warning", f"epochs={config.epochs} is hardly a training", "use 30 or more for a result.")
        )
    return findings or [Finding("ok", f"lr={lr:g} for {name} over {config.epochs} epochs")]


def check_batches(data: DataModule, batch_size: int) -> list[Finding]:
    """Check that an epoch has more than one batch."""
    if batch_size > len(data.train):
        fault = f"batch_size={batch_size} is larger than the {len(data.train)} training samples: one step an epoch"
        return [Finding("warning", fault, "use a smaller batch_size.")]
    return [Finding("ok", f"{data.steps(batch_size)} steps an epoch")]


def check_mixing(mixing: Mixing | None) -> list[Finding]:
    """Return how training batches are mixed, if they are."""
    return [] if mixing is None else [Finding("ok", f"training batches are mixed by {mixing.describe()}")]


def check_normalisation(teacher: Teacher, known: bool) -> list[Finding]:
    """Check that the teacher's images are normalised as in its training; known: whether that normalisation is known."""
    if not known:
        fault = "the normalisation of the teacher's training images isn't known; it gets them as the student does"
        return [
            Finding(
                "warning",
                fault,
                "set teacher_mean and teacher_std, or give a run folder or a published model, which record them.",
            )
        ]
    if any(isinstance(m, Frozen) and m.scale is not None for m in teacher.modules()):
        return [Finding("ok", "teacher and student expect different normalisations: converted")]
    return [Finding("ok", "teacher and student expect the same normalisation")]


def check_outputs(response: Tensor) -> list[Finding]:
    """Check that a teacher's outputs are finite and differ between samples."""
    if not response.isfinite().all():
        share = 1 - response.isfinite().float().mean().item()
        return [Finding("error", f"{share:.0%} of the teacher's outputs are NaN or infinite", "check its weights.")]
    if len(response) > 1 and bool((response == response[:1]).all()):
        return [Finding("error", "the teacher's output is the same for every sample", "check its weights and input.")]
    return [Finding("ok", "the teacher's outputs are finite")]


def check_frozen(teacher: Teacher) -> list[Finding]:
    """Check that the teacher is in eval mode and its parameters require no gradient."""
    training = [name or "itself" for name, m in teacher.named_modules() if m.training]
    free = [name for name, p in teacher.named_parameters() if p.requires_grad]
    findings = []
    if training:
        findings.append(
            Finding("error", f"the teacher's {list_first(training)} is in train mode", "call teacher.eval().")
        )
    if free:
        mend = "call teacher.requires_grad_(False)."
        findings.append(Finding("error", f"the teacher's {list_first(free)} would get gradients", mend))
    return findings or [Finding("ok", "the teacher is frozen: eval mode, no gradients")]


def check_terms(terms: Terms, task: Task) -> list[Finding]:
    """Check that the labels are used, if there are any, and that no loss is known to harm such outputs."""
    by_name = terms.named_terms()
    findings = [
        Finding(
            "warning",
            f"{type(term.loss).__name__} made students worse than alone on {term.loss.harmed_on}, of four data sets, "
            "with nothing tuned",
            "take another method, tune its weight (tutelage tune), or compare with the student alone (baseline=true).",
        )
        for term in by_name.values()
        if term.loss.harmed_on and term.compares == term.loss.compares and task.response_kind == "classes"
    ]
    if by_name and task.task_loss() is not None and all(term.loss.needs_teacher for term in by_name.values()):
        fault = f"no term uses the labels: the student learns from {', '.join(by_name)} alone"
        findings.append(Finding("warning", fault, "add the task's loss if that isn't meant (method=ce+…)."))
    return findings


def check_gradient_norms(norms: Mapping[str, float]) -> list[Finding]:
    """Check that the gradient norms of the weighted terms at the student are comparable."""
    findings = [
        Finding("warning", f"term {name} has no effect on the student: its gradient is 0", "raise its weight.")
        for name, norm in norms.items()
        if norm == 0
    ]
    findings += [
        Finding("error", f"term {name} has a gradient of norm {norm}", "look at its inputs, or lower its weight.")
        for name, norm in norms.items()
        if not math.isfinite(norm)
    ]
    positive = {name: norm for name, norm in norms.items() if 0 < norm < math.inf}
    if positive and max(positive.values()) > MAX_NORM_RATIO * min(positive.values()):
        strong, weak = max(positive, key=positive.__getitem__), min(positive, key=positive.__getitem__)
        ratio = positive[strong] / positive[weak]
        fault = f"the gradient norm of term {strong} is {ratio:.0f} times that of {weak}"
        findings.append(Finding("warning", fault, f"lower the weight of {strong} or raise that of {weak}."))
    return findings or [Finding("ok", "the terms' gradient norms are within a factor of 100")]


def check_gradients(scheme: Scheme) -> list[Finding]:
    """Check that all trainable parameters got a gradient in the last backward."""
    idle: dict[bool, list[str]] = {True: [], False: []}
    for player in scheme.players.values():
        for name, parameter in unwrap(player).named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                idle["terms." in name].append(name.replace("student.model.", ""))
    findings = []
    if idle[True]:
        mend = "does the loss use the connector? Name other layers or another connector."
        findings.append(Finding("error", f"no gradient reaches {list_first(idle[True])}", mend))
    if idle[False]:
        mend = "freeze them, or add a term that reaches them, such as ce."
        findings.append(Finding("warning", f"no gradient reaches the student's {list_first(idle[False])}", mend))
    return findings or [Finding("ok", "all trainable parameters get a gradient")]


def check_evaluation(run: Run, scheme: Scheme, data: DataModule) -> list[Finding]:
    """Check that each student can be evaluated on validation and test data: on a batch of each."""
    for split in data.splits[1:]:
        batch = next(data.batches(split, run.config.batch_size, train=False, device=run.fabric.device))
        for student in scheme.students().values():
            evaluate(student, [batch], run.inputs.task, run.inputs.task.outputs(data))
    return [Finding("ok", "the students' outputs can be evaluated")]


def refusal_findings(error: TutelageError) -> list[Finding]:
    """Return an error for each line of a refusal of the run."""
    return [Finding("error", line) for line in str(error).splitlines()]


@dataclass
class Trial:
    """The result of a trial step of a run: its networks, terms, costs and findings."""

    data: DataModule
    findings: list[Finding] = field(default_factory=list)
    student: nn.Module | None = None
    teacher: Teacher | None = None
    terms: Terms = field(default_factory=Terms)
    values: dict[str, float] = field(default_factory=dict)
    norms: dict[str, float] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)
    step: float = 0.0
    teaching: float = 0.0
    cacheable: bool = False
    seconds: float = 0.0
    memory: float = 0.0


def check(config: Config, steps: int = 0, draw: Path | None = None) -> Trial:
    """Try one step of the run that a configuration describes; nothing is trained and no other file is written.

    steps: the number of real training steps to take in addition, with a copy of the student. draw: the page to write of
    the samples of a training batch.
    Raises: ConfigError and DataError if there is no data or device to try it on.
    """
    run = Run(config, folder=Path())  # with a folder given, it makes none
    notes = [Finding("warning", note) for note in run.inputs.data.notes]
    data, task, mixed = run.inputs.data, run.inputs.task, check_mixing(Mixing.of(config.mix))
    trial = Trial(data, [*notes, *check_batches(data, config.batch_size), *mixed, *task.check_data(data.labelled)])
    drawn = data
    try:
        drawn = _try(run, trial)
        if steps:
            trial.findings += first_steps.take_first_steps(run, steps)
    except TutelageError as error:
        trial.findings += refusal_findings(error)
    if draw is not None:
        drawn_batch.write(draw, drawn, config)
    return trial


def _try(run: Run, trial: Trial) -> DataModule:
    """Set up the run, check the teacher, then take one step; return the data as the student's training gets it."""
    wired = run.dry_run(run.config.batch_size)
    if wired is None:
        trial.findings.append(Finding("ok", f"student={run.config.student} is fitted in one go, without steps"))
        return trial.data
    scheme, data = wired.scheme, wired.data
    scheme.to(run.fabric.device)
    batch = replace(wired.batch.to(run.fabric.device), epoch=float(run.config.epochs))  # past every warm-up
    trial.student = next(iter(scheme.students().values()))
    player = next(player for player in map(unwrap, scheme.players.values()) if player.students())
    optimised = next(iter(player.optimised_modules().values()))
    trial.findings += settings(run.plan.config_for(run.plan.phases()[-1]), optimised)
    trial.terms = scheme.method_terms()
    trial.macs["student"] = macs(trial.student.model, data)
    trial.teacher = getattr(scheme, "teacher", None)
    if trial.teacher is not None:
        if run.config.catalogue_teacher is None or trial.teacher.follows_student:
            trial.macs["teacher"] = macs(trial.teacher, data)
        trial.findings += _of_teacher(run, scheme, trial.teacher, data, batch)
    scheme.train()
    if run.config.recompute:
        for student in scheme.students().values():
            enable_checkpointing(student, student.select(batch).inputs)
    norms = scheme.balance(gradient_norms(scheme, batch, 0), batch.epoch)
    trial.norms = {display_name(name): norm for name, norm in norms.items()}
    _step(scheme, batch, trial)
    trial.findings += (
        check_terms(trial.terms, run.inputs.task)
        + check_gradient_norms(trial.norms)
        + check_gradients(scheme)
        + first_steps.check_gradient_sizes(scheme, run.plan.config_for(run.plan.phases()[-1]))
    )
    trial.findings += check_evaluation(run, scheme, data)
    if trial.teacher is not None:
        trial.cacheable = not trial.teacher.changes_in_training()
        trial.teaching = forward_seconds(trial.teacher, data, run.config)
    trial.seconds = _estimate(run, trial)
    trial.memory = peak_memory(run.fabric.device)
    return data


def _of_teacher(run: Run, scheme: Scheme, teacher: Teacher, data: DataModule, batch: Batch) -> list[Finding]:
    findings = check_frozen(teacher) + check_outputs(teacher(batch).response)
    config = run.plan.config_for(run.plan.phases()[-1])
    if config.catalogue_teacher is not None:
        return findings
    findings += check_normalisation(teacher, teacher_skill.is_trained(run.plan, config) or _are_known(run, config))
    return findings + teacher_skill.judge_teacher(run.inputs, run.plan, scheme, data)


def _are_known(run: Run, config: Config) -> bool:
    """Return whether the normalisation of each teacher's training images is known."""
    if config.teacher_mean is not None:
        return True
    if isinstance(config.teacher, list):
        networks = run.builder.teachers.members(config, 0)
    else:
        networks = [run.builder.networks.network(config.teacher, config.teacher_weights, run.inputs.provided.teacher)]
    return all(network.mean is not None for network in networks)


def _step(scheme: Scheme, batch: Batch, trial: Trial) -> None:
    """Measure the fastest of three steps, without the optimiser's update."""
    times = []
    for _ in range(3):
        scheme.zero_grad()
        began = time.perf_counter()
        for name, losses in scheme.turns(batch, 0):
            torch.stack(list(losses.values())).sum().backward()
            trial.values |= {f"{name}/{term}".removeprefix("student/"): v.item() for term, v in losses.items()}
        times.append(time.perf_counter() - began)
    trial.step = min(times)


def _estimate(run: Run, trial: Trial) -> float:
    """Estimate the seconds of the run's steps, without validation; a teacher's step counts as three forwards."""
    steps = trial.data.steps(run.config.batch_size)
    cost = {"teacher": 3 * trial.teaching, "member": 3 * trial.teaching, "baseline": trial.step - trial.teaching}
    return sum(
        steps * run.plan.config_for(phase).epochs * cost.get(phase.role, trial.step) for phase in run.plan.phases()
    )
