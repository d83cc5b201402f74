"""A dry run: all phases are built and wired on a first batch, so that mistakes are found before training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, ModelError, NotFinite
from tutelage.nn.feature_extractor import run_once
from tutelage.objective.player import refuse_single_sample
from tutelage.runs.builder import RunBuilder
from tutelage.runs.fitted import try_fit
from tutelage.runs.inputs import RunInputs
from tutelage.runs.networks import NetworkLoader
from tutelage.runs.phase import Phase, refuse_other_outputs
from tutelage.runs.plan import RunPlan
from tutelage.runs.scheme_context import RunSchemeContext, build_scheme
from tutelage.runs.storage import DryStorage
from tutelage.schemes.base import Scheme
from tutelage.settings import refuse_accumulation
from tutelage.structures import Batch
from tutelage.training import fsdp
from tutelage.training.fabric import seed_everything
from tutelage.training.mixing import refuse_unmixable


@dataclass(frozen=True)
class DryRun:
    """The student's scheme, wired on a first batch; its data and that batch."""

    scheme: Scheme
    data: DataModule
    batch: Batch


def dry_run(inputs: RunInputs, plan: RunPlan, samples: int = 8) -> DryRun | None:
    """Build and wire each phase's scheme on `samples` samples, with each teacher as it is before its training.

    Returns: the student's scheme; None if it is fitted in one go.

    Raises: ConfigError, ModelError or NotFinite, each with the mend.
    """
    storage, wired = DryStorage(), None
    builder = RunBuilder(NetworkLoader(inputs, plan, storage))
    phase: Phase | None = None
    try:
        for phase in plan.phases():
            plan.settings(phase)
            if plan.is_fitted(phase):
                if phase.number == 0:
                    try_fit(builder, phase)
                continue
            has_terms = phase.role in ("stage", "student") or inputs.config.teacher_scheme is not None
            if phase.number == 0 and has_terms:
                wired = _try_phase(builder, storage, phase, samples)
    except NotFinite as error:
        assert phase is not None
        raise NotFinite(f"teacher={plan.config_for(phase).teacher}: {error}") from error
    except (ConfigError, ModelError) as error:
        stage = f"stage {phase.name[:-2]}: " if phase is not None and phase.role == "stage" else ""
        raise type(error)(f"{stage}{error}") from error
    return wired


def _try_phase(builder: RunBuilder, storage: DryStorage, phase: Phase, samples: int) -> DryRun:
    seed_everything(phase.seed)
    scheme, context = build_scheme(builder, phase)
    data, settings = context.data, context.config
    refuse_accumulation(settings, data.steps(settings.batch_size))
    refuse_unmixable(settings, scheme, data)
    batch = _first_batch(scheme, context, samples)
    _check_classes(scheme, batch, context)
    scheme.wire(batch, len(data.train))
    try:
        take_turns(scheme, batch)
    except Exception:  # a loss may require more samples than these few: a whole batch decides
        take_turns(scheme, _first_batch(scheme, context, min(settings.batch_size, len(data.train))))
    refuse_single_sample(scheme.students(), batch, settings.batch_size // builder.inputs.fabric.world_size)
    if builder.plan.leaves_terms(phase):
        storage.states[phase.name] = dict(scheme.method_terms().state_dict())
    if builder.inputs.config.sharded:
        fsdp.refuse_unshardable(scheme)
    return DryRun(scheme, data, batch)


def _first_batch(scheme: Scheme, context: RunSchemeContext, samples: int) -> Batch:
    """Return the first training samples of the first epoch, as the trainer batches them."""
    seed = context.inputs.config.seed
    batch = next(iter(context.data.batches("train", samples, seed=seed, **scheme.batching)))
    return replace(batch, extras=batch.extras | {"epochs": context.config.epochs})


def _check_classes(scheme: Scheme, batch: Batch, context: RunSchemeContext) -> None:
    """Refuse a student whose outputs don't fit the task and its data."""
    data, task, student_name = context.inputs.data, context.inputs.task, context.config.student
    for name, student in scheme.students().items():
        response = task.response(run_once(student.model, student.select(batch).inputs).response, batch)
        refuse_other_outputs(response, data, task, f"student={context.names.get(name, student_name)}")


def take_turns(scheme: Scheme, batch: Batch) -> None:
    """Take each player's turn once, so that a loss's refusal comes before anything is trained."""
    for _, losses in scheme.turns(batch, 0):
        torch.stack(list(losses.values())).sum().backward()  # some schemes continue from the gradients
    scheme.zero_grad()
