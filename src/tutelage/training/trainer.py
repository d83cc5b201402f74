"""The training loop, the only part that knows optimisers, precision, devices, clipping, checkpoints and callbacks.

fit:
    prepare: wire the scheme on the first batch, set up players and optimisers; restore a checkpoint if there is one
    for each epoch:
        for each batch:
            for (player, losses) in scheme.turns(batch): backward on their sum, clip, step
            scheme.after_step(), update averages; at log points: send events to the callbacks; regularly: checkpoint
        validate, record the best, stop early
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, Interrupted, TutelageError
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.objective.term import Term
from tutelage.schemes.base import Scheme, display_name
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch
from tutelage.tasks.base import Task
from tutelage.training import checkpoint
from tutelage.training.callbacks import Callback
from tutelage.training.checkpoint import Progress
from tutelage.training.evaluation import evaluate
from tutelage.training.events import EpochEnd, Event, GradientNorms, Message, StepEnd, TrainBegin, TrainEnd
from tutelage.training.fabric import make_fabric
from tutelage.training.gradient_norms import gradient_norms, refuse_infinite
from tutelage.training.optimizers import create_optimiser
from tutelage.training.state import MakeOptimiser, OptimisedModule, TrainingState, prepare
from tutelage.utils.signals import catch_stop_signals

NORM_POINTS = 5
"""The number of epochs of a training in which gradient norms are measured."""


@dataclass(frozen=True)
class AccumulationGroup:
    """The position of a batch among those whose gradients are accumulated for one step.

    Args:
        size: the number of batches of the group.
        is_first: whether the batch is the first of the group.
        is_last: whether it is the last.
    """

    size: int
    is_first: bool
    is_last: bool

    @classmethod
    def at(cls, position: int, steps: int, accumulate: int) -> AccumulationGroup:
        """Return the position in its group of the batch at a position of an epoch."""
        first = position - position % accumulate
        size = min(accumulate, steps - first)
        return cls(size, position == first, position + 1 == first + size)


class Trainer:
    """Trains a scheme's players on data.

    Args:
        settings: the trainer's settings.
        task: the task, for validation.
        folder: the folder of the checkpoints; without one, none are written.
        callbacks: receive the training's events.
        fabric: Lightning Fabric; by default configured by the settings.
        snapshot: called with the epoch and the students by name, after each epoch in `settings.snapshots`.
        make_optimiser: called with a module and the settings, for each module that a player optimises; returns its
            optimiser.

    Example:
        >>> from tutelage import CE, Classification, Offline, Player, Terms, Trainer, TrainerSettings, data, models
        >>> task, digits = Classification(), data.load("digits")
        >>> player = Player(models.create("cnn2", classes=10, channels=1).model, Terms.from_method(CE()), task)
        >>> students = Trainer(TrainerSettings(epochs=1, device="cpu"), task).fit(Offline(player), digits)
        >>> list(students)
        ['student']
    """

    def __init__(
        self,
        settings: TrainerSettings,
        task: Task,
        folder: Path | None = None,
        callbacks: Sequence[Callback] = (),
        fabric: Any = None,
        snapshot: Callable[[int, Mapping[str, FeatureExtractor]], None] = lambda epoch, networks: None,
        make_optimiser: MakeOptimiser = create_optimiser,
    ) -> None:
        self.settings, self.task, self.folder = settings, task, folder
        self.callbacks = list(callbacks)
        self.fabric = fabric or make_fabric(settings)
        self.snapshot = snapshot
        self.make_optimiser = make_optimiser
        self.state: TrainingState | None = None

    @property
    def progress(self) -> Progress:
        """The progress of the latest training."""
        return self.state.progress if self.state is not None else Progress()

    # the whole training

    def fit(self, scheme: Scheme, data: DataModule) -> dict[str, nn.Module]:
        """Train the scheme's players; return the trained students by name, as plain modules in eval mode."""
        settings = self.settings
        self.state = state = self.prepare(scheme, data)
        self._resume(state)
        self._notify(TrainBegin(state.batches.steps, settings.epochs, state.progress.step, _paired_layers(scheme)))
        with catch_stop_signals(state.stop):
            while state.progress.epoch < settings.epochs and not self._patience_is_out(state):
                batches = state.batches.train(state.progress.epoch, state.progress.position)
                with closing(scheme.prefetch(batches)) as batches:
                    self._epoch(state, batches)
                if state.progress.epoch in settings.snapshots:
                    self.snapshot(state.progress.epoch, state.networks())
        self._save(state)  # a run that is extended by more epochs continues from here
        self._notify(TrainEnd(state.progress.step, state.progress.seconds))
        return state.result(settings.keep)

    def prepare(self, scheme: Scheme, data: DataModule) -> TrainingState:
        """Return the state of a training of the scheme on the data, before its first step."""
        return prepare(scheme, data, self.settings, self.fabric, self.make_optimiser)

    def _patience_is_out(self, state: TrainingState) -> bool:
        patience, progress = self.settings.patience, state.progress
        return patience is not None and progress.epoch - progress.best_epoch >= patience

    # an epoch, a batch, a turn

    def _epoch(self, state: TrainingState, batches: Iterator[Batch]) -> None:
        began, last_save = time.perf_counter(), time.monotonic()
        progress, settings, steps = state.progress, self.settings, state.batches.steps
        if progress.position == 0 and self._norms_are_due(progress):
            batches = self._with_norms(state, batches)
        for batch in batches:
            ends = self._batch(state, batch)
            progress.next_batch()
            log_point = ends and progress.step % settings.log_every < settings.accumulate
            if log_point or progress.position == steps:
                self._log(state)
            if ends and self._must_stop(state, log_point):
                progress.add_seconds(began)
                self._stop(state)
            if ends and self._save_is_due(last_save, log_point):
                began = progress.add_seconds(began)
                self._save(state)
                last_save = time.monotonic()
        self._validate(state)
        progress.next_epoch()
        progress.add_seconds(began)

    def _batch(self, state: TrainingState, batch: Batch) -> bool:
        """Take all turns of one batch; return True if the optimisers stepped: after the last batch of a group."""
        scheme, progress = state.scheme, state.progress
        group = AccumulationGroup.at(progress.position, state.batches.steps, self.settings.accumulate)
        played: dict[str, Tensor] = {}
        with ExitStack() as stack:
            if not group.is_last:
                for player in scheme.players.values():
                    stack.enter_context(self.fabric.no_backward_sync(player))
            for name, losses in scheme.turns(batch, progress.step):
                if self.settings.accumulate > 1 and any(key.startswith(f"{name}/") for key in played):
                    raise ConfigError(
                        f"accumulate={self.settings.accumulate}: {name!r} has several turns per batch: set "
                        "accumulate=1."
                    )
                self._turn(state, name, losses, group)
                played |= {f"{name}/{term}": value.detach() for term, value in losses.items()}
        if group.is_last:
            state.after_step()
        state.pending_losses.append(played)
        return group.is_last

    def _turn(self, state: TrainingState, name: str, losses: dict[str, Tensor], group: AccumulationGroup) -> None:
        parts = state.optimised[name]
        if group.is_first:
            for part in parts:
                part.optimiser.zero_grad(set_to_none=True)
        losses = self._stash_teacher_gradients(state, name, losses)
        if losses:
            self.fabric.backward(_sum(losses) / group.size if group.size > 1 else _sum(losses))
        if not group.is_last:
            return
        self._clip(parts)
        for part in parts:
            part.optimiser.step()

    def _stash_teacher_gradients(self, state: TrainingState, name: str, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Pass distillation gradients to the optimisers that separate them; return the losses of the other terms."""
        distilled = {term: loss for term, loss in losses.items() if f"{name}/{term}" in state.distillation_terms}
        separating = [part for part in state.optimised[name] if part.separates_teacher_gradients]
        if not distilled or not separating:
            return losses
        self.fabric.backward(_sum(distilled), retain_graph=True)
        self._clip(separating)
        for part in separating:
            part.optimiser.optimizer.stash_teacher_gradients()
        return {term: loss for term, loss in losses.items() if term not in distilled}

    def _clip(self, parts: Sequence[OptimisedModule]) -> None:
        if (largest := self.settings.clip) is not None:
            for part in parts:
                self.fabric.clip_gradients(part.module, part.optimiser, max_norm=largest, error_if_nonfinite=False)

    # measurements and events

    def _notify(self, event: Event) -> None:
        if self.fabric.is_global_zero:
            for callback in self.callbacks:
                callback.on_event(event)

    def _warn(self, state: TrainingState, message: str) -> None:
        self._notify(Message(message, "warning", state.progress.step))

    def _log(self, state: TrainingState) -> None:
        """Send each term's mean loss since the last log point; only this reads losses from the device."""
        losses = state.take_losses()
        if not losses:
            return
        progress = state.progress
        means = self.fabric.all_reduce(torch.stack(list(losses.values())), reduce_op="mean")
        logged = {display_name(name): value for name, value in zip(losses, means.tolist(), strict=True)}
        refuse_infinite(logged, progress.step, checkpoint.describe_newest(self.folder))
        epoch = round(progress.epoch + progress.position / state.batches.steps, 4)
        self._notify(StepEnd(progress.step, epoch, logged, float(state.schedules[0].get_last_lr()[0])))

    def _norms_are_due(self, progress: Progress) -> bool:
        every = max(self.settings.epochs // NORM_POINTS, 1)
        return progress.epoch % every == 0 and not self.settings.sharded

    def _with_norms(self, state: TrainingState, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the same batches, after measuring each term's gradient norm on the first one."""
        first, scheme, progress = next(batches), state.scheme, state.progress
        norms = scheme.balance(self._norms(scheme, first, progress.step), first.epoch)
        shown, weights = ({display_name(n): x for n, x in by_term.items()} for by_term in (norms, scheme.weights()))
        self._notify(GradientNorms(progress.step, progress.epoch, shown, weights))
        yield first
        yield from batches

    def _norms(self, scheme: Scheme, batch: Batch, step: int) -> dict[str, float]:
        """Return the gradient norms, averaged over processes."""
        norms = gradient_norms(scheme, batch, step)
        means = self.fabric.all_reduce(torch.tensor(list(norms.values())), reduce_op="mean")
        return dict(zip(norms, means.tolist(), strict=True))

    def _validate(self, state: TrainingState) -> None:
        progress, batches, task, networks = state.progress, state.batches, self.task, state.networks()
        name, student = next(iter(networks.items()))
        samples, shared = batches.validation(progress.epoch), batches.validation_is_shared
        with self.fabric.autocast():
            values = evaluate(student, samples, task, task.outputs(batches.data), shared=shared).values
            values |= task.measure(student, batches.data, "val", self.settings.batch_size)
            if task.task_loss() is None:
                samples = batches.validation(progress.epoch)
                values |= state.scheme.evaluate_losses(samples, self.fabric if shared else None)
        self._notify(EpochEnd(progress.step, progress.epoch + 1, values, name))
        value = values[task.metric]
        if progress.is_better(value, task.higher_is_better):
            progress.set_best(value)
            if self.settings.keep == "best":
                state.keep_weights(networks)

    # checkpoints and signals

    def _resume(self, state: TrainingState) -> None:
        """Restore the newest intact checkpoint, if there is one."""
        folder = self.folder
        if folder is None:
            return
        saved = checkpoint.load(folder, lambda message: self._warn(state, message))
        if saved is not None:
            try:
                state.restore_modules(saved)
            except (RuntimeError, KeyError, ValueError) as error:
                raise TutelageError(f"the checkpoint in {folder} is of another run: {error}") from error
            state.restore_progress(saved, self.fabric)
            if saved["threads"] != torch.get_num_threads():
                self._warn(
                    state,
                    f"the run used {saved['threads']} threads and now has {torch.get_num_threads()}: it continues, but "
                    "the result won't be bitwise identical (set OMP_NUM_THREADS).",
                )
            checkpoint.set_random_state(saved["random"][self.fabric.global_rank])
        if self.fabric.is_global_zero:
            for callback in self.callbacks:
                callback.on_resume(state.progress.step, state.progress.epoch)

    def _save(self, state: TrainingState) -> None:
        """Write a checkpoint."""
        self._log(state)
        content = state.to_checkpoint(self.fabric)
        if self.folder is not None and self.fabric.is_global_zero:
            checkpoint.save(self.folder, state.progress.step, content)
        self.fabric.barrier()

    def _save_is_due(self, last: float, log_point: bool) -> bool:
        if self.folder is None:
            return False
        if self.fabric.world_size == 1:
            return time.monotonic() - last >= self.settings.checkpoint_every
        if not log_point and self.settings.checkpoint_every > 0:  # processes agree at log points
            return False
        return bool(self.fabric.broadcast(time.monotonic() - last >= self.settings.checkpoint_every))

    def _must_stop(self, state: TrainingState, log_point: bool) -> bool:
        single = self.fabric.world_size == 1
        if not single and log_point:
            requested = torch.tensor(float(state.stop.number), device=self.fabric.device)
            state.stop.record(int(self.fabric.all_reduce(requested, reduce_op="max").item()))
        return state.stop.number != 0 and (log_point or single)

    def _stop(self, state: TrainingState) -> None:
        self._save(state)
        kept = f"saved in {self.folder}" if self.folder else "nothing was saved, since the trainer has no folder"
        raise Interrupted(f"stopped by {state.stop.name} at step {state.progress.step}; {kept}.")


def _paired_layers(scheme: Scheme) -> dict[str, Any]:
    """Return the pairs of student and teacher layers that each term compares, by the term's name."""
    return {name.split(".")[-1]: m.pairs for name, m in scheme.named_modules() if isinstance(m, Term) and m.pairs}


def _sum(losses: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum() if len(losses) > 1 else next(iter(losses.values()))
