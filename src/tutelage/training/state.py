"""The state of one training: made by `prepare`, advanced by the trainer, kept in checkpoints."""

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
from tutelage.nn.activation_checkpointing import recompute
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.objective.player import refuse_single
from tutelage.schemes.base import Scheme
from tutelage.settings import TrainerSettings, refuse_accumulation
from tutelage.structures import Batch
from tutelage.training import checkpoint, fsdp
from tutelage.training.batches import TrainingBatches
from tutelage.training.checkpoint import Progress
from tutelage.training.optimizers import (
    SeparatesTeacherGradients,
    averages,
    distillation_terms,
    restore_schedule,
    scheduler,
)
from tutelage.utils.compat import unwrap
from tutelage.utils.distributed import all_of
from tutelage.utils.signals import StopRequest

MakeOptimiser = Callable[[nn.Module, TrainerSettings], Optimizer]


@dataclass(frozen=True)
class OptimisedModule:
    """A module with its optimiser (as Fabric wraps it) and the schedule of its learning rate."""

    module: nn.Module
    optimiser: Any
    schedule: LambdaLR

    @cached_property
    def separates(self) -> bool:
        """True if the optimiser takes the gradients of distillation terms separately."""
        return isinstance(self.optimiser.optimizer, SeparatesTeacherGradients)


@dataclass
class TrainingState:
    """A wired scheme with its batches and optimisers, and the progress of its training.

    optimised: by player. averages: moving averages of the students, if any. meta_copies: of the students, without
    weights, if these are divided over devices. distillation_terms: those whose gradients some optimiser wants apart,
    by "player/term". pending_losses: each batch's since the last log point.
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
        """Update schedules, scheme and averages after the optimisers' steps."""
        for schedule in self.schedules:
            schedule.step()
        self.scheme.after_step()
        for name, average in self.averages.items():
            average.update_parameters(self.students[name])

    def take_losses(self) -> dict[str, Tensor]:
        """Return the mean of each term since the last call, over the batches that had it."""
        pending, self.pending_losses = self.pending_losses, []
        names = dict.fromkeys(name for losses in pending for name in losses)  # terms may change at any batch
        return {n: torch.stack([losses[n].float() for losses in pending if n in losses]).mean() for n in names}

    # students

    def networks(self) -> dict[str, FeatureExtractor]:
        """Return the networks to validate: the students, whole copies of them, or their moving averages."""
        if self.meta_copies:
            return {n: fsdp.with_full_weights(self.meta_copies[n], student) for n, student in self.students.items()}
        return {
            name: cast(FeatureExtractor, average.module) for name, average in self.averages.items()
        } or self.students

    def keep_weights(self, networks: Mapping[str, nn.Module]) -> None:
        """Keep the current weights of these networks as the best."""
        self.best_weights = {n: {k: v.detach().clone() for k, v in s.state_dict().items()} for n, s in networks.items()}

    def result(self, keep: str) -> dict[str, nn.Module]:
        """Return the networks with their last weights or, if keep is "best", their best: unwrapped, in eval mode."""
        networks = self.networks()
        if keep == "best" and self.best_weights is not None:
            for name, network in networks.items():
                network.load_state_dict(self.best_weights[name])
        return {name: network.close().eval() for name, network in networks.items()}

    # checkpoints

    def to_checkpoint(self, fabric: Any) -> dict[str, Any]:
        """Return the state on which the rest of the training depends; all processes must call it."""
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
            "random": all_of(checkpoint.random_state()),
            "best_weights": self.best_weights,
            "threads": torch.get_num_threads(),
        }

    def restore_modules(self, saved: dict[str, Any]) -> None:
        """Restore players, optimisers, schedules and averages from the state of `to_checkpoint`.

        Raises: RuntimeError, KeyError or ValueError if it is another training's.
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
        """Restore the other entries, except the random state."""
        self.scheme.load_checkpoint_state(saved["scheme"])
        fabric.strategy.precision.load_state_dict(saved["precision"])
        self.best_weights = saved["best_weights"]
        self.progress = Progress(**saved["progress"])


def prepare(
    scheme: Scheme, data: DataModule, settings: TrainerSettings, fabric: Any, make_optimiser: MakeOptimiser
) -> TrainingState:
    """Wire a scheme on its first batch, wrap its players, and give each an optimiser: a training before its first step.

    Raises: ConfigError if the settings don't suit the data, the scheme or an optimiser.
    """
    batches = TrainingBatches(data, settings, fabric, scheme.batching)
    refuse_accumulation(settings, batches.steps)
    example = next(iter(batches.train(0)))
    _wire(scheme, example, batches)
    students = scheme.students()
    refuse_single(students, example, len(example))
    followers = averages(students, settings.ema)
    meta_copies = {}
    if settings.sharded:
        fsdp.refuse(scheme)
        meta_copies = {name: fsdp.meta_copy(student) for name, student in students.items()}
    if settings.recompute:
        for student in students.values():  # after the averages were copied from them
            recompute(student, example.inputs)
    if settings.compile:
        for extractor in (m for m in scheme.modules() if isinstance(m, FeatureExtractor)):
            extractor.compile()
    optimised = _optimise(scheme, example, batches, make_optimiser)
    separated = distillation_terms(scheme.terms()) if _some_separate(optimised, settings) else ()
    return TrainingState(scheme, batches, students, followers, meta_copies, optimised, frozenset(separated))


def _wire(scheme: Scheme, example: Batch, batches: TrainingBatches) -> None:
    scheme.to(batches.fabric.device)
    if batches.layout is not None:
        scheme.to(memory_format=batches.layout)
    scheme.wire(example, len(batches.data.train))
    scheme.to(batches.fabric.device)
    scheme.train()


def _optimise(
    scheme: Scheme, example: Batch, batches: TrainingBatches, make_optimiser: MakeOptimiser
) -> dict[str, list[OptimisedModule]]:
    """Wrap the scheme's players, divided if the settings shard them; return each player's parts with optimisers."""
    settings, fabric = batches.settings, batches.fabric
    updates = -(-batches.steps // settings.accumulate)
    optimised: dict[str, list[OptimisedModule]] = {}
    for name, player in scheme.players.items():
        if settings.sharded:
            fsdp.shard(player, example.inputs, fabric.strategy.device_mesh["data_parallel"])
        scheme.players[name] = fabric.setup_module(player)
        optimised[name] = []
        for module in player.optimised().values():  # type: ignore[operator]
            inner = make_optimiser(module, settings)
            schedule = scheduler(inner, settings, updates)
            optimised[name].append(OptimisedModule(module, fabric.setup_optimizers(inner), schedule))
    return optimised


def _some_separate(optimised: dict[str, list[OptimisedModule]], settings: TrainerSettings) -> bool:
    """Return whether an optimiser takes the gradients of distillation terms separately; refuse settings against it."""
    separate = [part.optimiser.optimizer for parts in optimised.values() for part in parts if part.separates]
    barred = {
        "accumulate": settings.accumulate > 1,
        "devices": settings.devices > 1,
        "precision=16": settings.precision == "16",
    }
    if separate and any(barred.values()):
        conflicts = ", ".join(name for name, is_set in barred.items() if is_set)
        raise ConfigError(
            f"{type(separate[0]).__name__} keeps two gradients apart, which doesn't go with {conflicts}: leave it out."
        )
    return bool(separate)
