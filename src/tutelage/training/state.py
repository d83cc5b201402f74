"""The state of one training: `prepare` creates it, the trainer advances it, checkpoints store it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.nn.activation_checkpointing import enable_checkpointing
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.nn.memory_format import use_memory_format
from tutelage.objective.player import refuse_single_sample
from tutelage.schemes.base import Scheme
from tutelage.settings import TrainerSettings, refuse_accumulation
from tutelage.structures import Batch
from tutelage.training import checkpoint, fsdp
from tutelage.training.batches import TrainingBatches
from tutelage.training.checkpoint import Progress
from tutelage.training.mixing import refuse_unmixable
from tutelage.training.optimizers import (
    SeparatesTeacherGradients,
    create_averages,
    create_scheduler,
    distillation_terms,
    restore_schedule,
)
from tutelage.utils.compat import unwrap
from tutelage.utils.distributed import all_gather_object
from tutelage.utils.signals import StopRequest

MakeOptimiser = Callable[[nn.Module, TrainerSettings], Optimizer]


@dataclass(frozen=True)
class OptimisedModule:
    """A module with its optimiser and its learning-rate schedule.

    Args:
        module: the module.
        optimiser: its optimiser, wrapped by Fabric.
        schedule: the schedule of the optimiser's learning rate.
    """

    module: nn.Module
    optimiser: Any
    schedule: LambdaLR

    @cached_property
    def separates_teacher_gradients(self) -> bool:
        """True if the optimiser treats the gradients of distillation terms separately."""
        return isinstance(self.optimiser.optimizer, SeparatesTeacherGradients)


@dataclass
class TrainingState:
    """A wired scheme with its batches, its optimisers and its progress.

    Args:
        scheme: the wired scheme.
        batches: its training and validation batches.
        students: the students, by name.
        averages: their moving averages, if any.
        meta_copies: copies of the students without weights, if the weights are sharded.
        optimised: each player's modules with their optimisers.
        distillation_terms: the terms whose gradients an optimiser treats separately, as "player/term".
        progress: steps, epochs and the best metric so far.
        pending_losses: the losses of each batch since the last log point.
        best_weights: the weights of the best epoch, if they are kept.
        stop: the request to stop, set by a signal.
    """

    scheme: Scheme
    batches: TrainingBatches
    students: dict[str, FeatureExtractor]
    averages: dict[str, AveragedModel]
    meta_copies: dict[str, FeatureExtractor]
    optimised: dict[str, list[OptimisedModule]]
    distillation_terms: frozenset[str]
    progress: Progress = field(default_factory=Progress)
    pending_losses: list[dict[str, Tensor]] = field(default_factory=list)
    best_weights: dict[str, Any] | None = None
    stop: StopRequest = field(default_factory=StopRequest)

    @property
    def schedules(self) -> list[LambdaLR]:
        """The schedules of all optimisers."""
        return [part.schedule for parts in self.optimised.values() for part in parts]

    def after_step(self) -> None:
        """Advance the schedules, the scheme and the moving averages after the optimisers' steps."""
        for schedule in self.schedules:
            schedule.step()
        self.scheme.after_step()
        for name, average in self.averages.items():
            average.update_parameters(self.students[name])

    def take_losses(self) -> dict[str, Tensor]:
        """Return each term's mean loss since the last call, over the batches that had the term."""
        pending, self.pending_losses = self.pending_losses, []
        names = dict.fromkeys(name for losses in pending for name in losses)  # terms may change at any batch
        return {n: torch.stack([losses[n].float() for losses in pending if n in losses]).mean() for n in names}

    # students

    def networks(self) -> dict[str, FeatureExtractor]:
        """Return the networks to validate and to keep: the students, copies with full weights, or moving averages."""
        if self.meta_copies:
            return {n: fsdp.with_full_weights(self.meta_copies[n], student) for n, student in self.students.items()}
        return {
            name: cast(FeatureExtractor, average.module) for name, average in self.averages.items()
        } or self.students

    def keep_weights(self, networks: Mapping[str, nn.Module]) -> None:
        """Store the current weights of these networks as the best."""
        self.best_weights = {n: {k: v.detach().clone() for k, v in s.state_dict().items()} for n, s in networks.items()}

    def result(self, keep: str) -> dict[str, nn.Module]:
        """Return the plain modules in eval mode, with their last weights, or their best if keep is "best"."""
        networks = self.networks()
        if keep == "best" and self.best_weights is not None:
            for name, network in networks.items():
                network.load_state_dict(self.best_weights[name])
        return {name: network.close().eval() for name, network in networks.items()}

    # checkpoints

    def to_checkpoint(self, fabric: Any) -> dict[str, Any]:
        """Return all state that the rest of the training depends on; all processes must call it."""
        return {
            "progress": asdict(self.progress),
            "players": {n: fsdp.full_state_dict(unwrap(p).state_dict()) for n, p in self.scheme.players.items()},
            "optimisers": {
                name: fsdp.full_state_dict([part.optimiser.state_dict() for part in parts])
                for name, parts in self.optimised.items()
            },
            "schedulers": [schedule.state_dict() for schedule in self.schedules],
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "scheme": self.scheme.checkpoint_state(),
            "precision": fabric.strategy.precision.state_dict(),
            "random": all_gather_object(checkpoint.random_state()),
            "best_weights": self.best_weights,
            "threads": torch.get_num_threads(),
        }

    def restore_modules(self, saved: dict[str, Any]) -> None:
        """Restore players, optimisers, schedules and averages from a checkpoint.

        Raises: RuntimeError, KeyError or ValueError if the checkpoint is of another training.
        """
        for name, player in self.scheme.players.items():
            fsdp.load(unwrap(player), saved["players"][name])
            for part, state in zip(self.optimised[name], saved["optimisers"][name], strict=True):
                fsdp.load_optimiser(part.optimiser, state)
        for schedule, state in zip(self.schedules, saved["schedulers"], strict=True):
            restore_schedule(schedule, state)
        for name, average in self.averages.items():
            average.load_state_dict(saved["averages"][name])

    def restore_progress(self, saved: dict[str, Any], fabric: Any) -> None:
        """Restore the rest of a checkpoint, except for the random state."""
        self.scheme.load_checkpoint_state(saved["scheme"])
        fabric.strategy.precision.load_state_dict(saved["precision"])
        self.best_weights = saved["best_weights"]
        self.progress = Progress(**saved["progress"])


def prepare(
    scheme: Scheme, data: DataModule, settings: TrainerSettings, fabric: Any, make_optimiser: MakeOptimiser
) -> TrainingState:
    """Wire a scheme on its first batch, wrap its players, and create their optimisers.

    Raises: ConfigError if the settings don't suit the data, the scheme or an optimiser.
    """
    batches = TrainingBatches(data, settings, fabric, scheme.batching)
    refuse_accumulation(settings, batches.steps)
    refuse_unmixable(settings, scheme, data)
    example = next(iter(batches.train(0)))
    _wire(scheme, example, batches)
    students = scheme.students()
    refuse_single_sample(students, example, len(example))
    followers = create_averages(students, settings.ema)
    meta_copies = {}
    if settings.sharded:
        fsdp.refuse_unshardable(scheme)
        meta_copies = {name: fsdp.meta_copy(student) for name, student in students.items()}
    if settings.recompute:
        for student in students.values():  # after the averages were copied from them
            enable_checkpointing(student, student.select(example).inputs)
    if settings.compile:
        for extractor in (m for m in scheme.modules() if isinstance(m, FeatureExtractor)):
            extractor.compile()
    optimised = _optimise(scheme, example, batches, make_optimiser)
    separated = distillation_terms(scheme.terms()) if _some_separate(optimised, settings) else ()
    return TrainingState(scheme, batches, students, followers, meta_copies, optimised, frozenset(separated))


def _wire(scheme: Scheme, example: Batch, batches: TrainingBatches) -> None:
    scheme.to(batches.fabric.device)
    if batches.memory_format is not None:
        use_memory_format(scheme, batches.memory_format)
    scheme.wire(example, len(batches.data.train))
    scheme.to(batches.fabric.device)
    scheme.train()


def _optimise(
    scheme: Scheme, example: Batch, batches: TrainingBatches, make_optimiser: MakeOptimiser
) -> dict[str, list[OptimisedModule]]:
    """Wrap the scheme's players, sharded if so configured; return each player's modules with their optimisers."""
    settings, fabric = batches.settings, batches.fabric
    updates = -(-batches.steps // settings.accumulate)
    optimised: dict[str, list[OptimisedModule]] = {}
    for name, player in scheme.players.items():
        if settings.sharded:
            fsdp.shard(player, example.inputs, fabric.strategy.device_mesh["data_parallel"])
        scheme.players[name] = fabric.setup_module(player)
        optimised[name] = []
        for module in player.optimised_modules().values():  # type: ignore[operator]
            inner = make_optimiser(module, settings)
            schedule = create_scheduler(inner, settings, updates)
            optimised[name].append(OptimisedModule(module, fabric.setup_optimizers(inner), schedule))
    return optimised


def _some_separate(optimised: dict[str, list[OptimisedModule]], settings: TrainerSettings) -> bool:
    """Return True if an optimiser treats distillation gradients separately; reject settings that exclude that."""
    separate = [
        part.optimiser.optimizer for parts in optimised.values() for part in parts if part.separates_teacher_gradients
    ]
    unsupported = {
        "accumulate": settings.accumulate > 1,
        "devices": settings.devices > 1,
        "precision=16": settings.precision == "16",
    }
    if separate and any(unsupported.values()):
        keys = ", ".join(name for name, is_set in unsupported.items() if is_set)
        raise ConfigError(
            f"{type(separate[0]).__name__} separates two gradients, which doesn't go with {keys}: remove it."
        )
    return bool(separate)
