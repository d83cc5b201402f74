"""The loop. It alone knows optimisers, precision, devices, clipping, checkpoints and callbacks.

fit:
    wire the scheme on the first batch, set up players and optimisers, take back a checkpoint if there is one
    for each epoch:
        for each batch:
            for (player, losses) in scheme.turns(batch): backward on their sum, clip, step
            scheme.after_step(), averages follow, at log points: rows to the callbacks; now and then: checkpoint
        validate, note the best, stop early
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, Interrupted, TutelageError
from tutelage.nn.activation_checkpointing import recompute
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.objective.player import refuse_single
from tutelage.objective.term import Term
from tutelage.schemes.base import Scheme, display_name, unwrap
from tutelage.settings import TrainerSettings, refuse_accumulation
from tutelage.structures import Batch
from tutelage.tasks.base import Task
from tutelage.training import checkpoint, fsdp
from tutelage.training.callbacks import Callback, Row
from tutelage.training.checkpoint import Progress
from tutelage.training.evaluation import evaluate
from tutelage.training.fabric import make_fabric
from tutelage.training.gradient_norms import gradient_norms, refuse_infinite
from tutelage.training.optimizers import averages, distillation_terms, optimiser, restore_schedule, scheduler
from tutelage.utils.distributed import all_of
from tutelage.utils.signals import StopRequest, catch_stop_signals

NORM_POINTS = 5


class Trainer:
    """Trains a scheme's players on data, with checkpoints in `folder` (none without one).

    snapshot(epoch, networks) is told of the students, by name, after the epochs that the settings name.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        task: Task,
        folder: Path | None = None,
        callbacks: Sequence[Callback] = (),
        fabric: Any = None,
        snapshot: Callable[[int, Mapping[str, FeatureExtractor]], None] = lambda epoch, networks: None,
    ) -> None:
        self.settings, self.task, self.folder = settings, task, folder
        self.callbacks = list(callbacks)
        self.fabric = fabric or make_fabric(settings)
        self.snapshot = snapshot
        self.progress = Progress()
        self.best_weights: dict[str, Any] | None = None
        self.pending: list[dict[str, Tensor]] = []
        self.wish = StopRequest()

    # the whole

    def fit(self, scheme: Scheme, data: DataModule) -> dict[str, nn.Module]:
        """Train; returns the students that are the result, by name: bare modules in eval mode."""
        settings = self.settings
        self.steps = data.steps(settings.batch_size // self.fabric.world_size, self.fabric.world_size)
        refuse_accumulation(settings, self.steps)
        self._set_up(scheme, data)
        self._take_back(scheme)
        pairs = {name.split(".")[-1]: m.pairs for name, m in scheme.named_modules() if isinstance(m, Term) and m.pairs}
        begin = {"kind": "begin", "steps": self.steps, "epochs": settings.epochs, "step": self.progress.step}
        self._note(begin | {"pairs": pairs})
        with catch_stop_signals(self.wish):
            while self.progress.epoch < settings.epochs and not self._patience_is_out():
                batches = self._batches(data, "train", self.progress.epoch, self.progress.position)
                with closing(scheme.lookahead(batches)) as batches:
                    self._epoch(scheme, data, batches)
                if self.progress.epoch in settings.snapshots:
                    self.snapshot(self.progress.epoch, self.networks())
        self.save(scheme)  # a run that gets more epochs goes on from here
        self._note({"kind": "end", "step": self.progress.step, "seconds": self.progress.seconds})
        return self._result(scheme)

    def _set_up(self, scheme: Scheme, data: DataModule) -> None:
        settings, fabric = self.settings, self.fabric
        self.batching = scheme.batching
        self.layout = torch.channels_last if settings.channels_last and not settings.sharded else None
        example = next(iter(self._batches(data, "train", 0, 0)))
        scheme.to(fabric.device)
        if self.layout is not None:
            scheme.to(memory_format=self.layout)
        scheme.wire(example, len(data.train))
        scheme.to(fabric.device)
        scheme.train()
        self.students = scheme.students()
        refuse_single(self.students, example, len(example))
        self.averages = averages(self.students, settings.ema)
        if settings.sharded:
            fsdp.refuse(scheme)
            self.hollow = {name: fsdp.meta_copy(student) for name, student in self.students.items()}
        if settings.recompute:
            for student in self.students.values():  # after the averages were copied from them
                recompute(student, example.inputs)
        if settings.compile:
            for tapped in (m for m in scheme.modules() if isinstance(m, FeatureExtractor)):
                tapped.compile()
        self.optimisers: dict[str, list[Any]] = {}
        self.parts: dict[str, list[nn.Module]] = {}
        self.schedulers: list[Any] = []
        for name, player in scheme.players.items():
            if settings.sharded:
                fsdp.shard(player, example.inputs, fabric.strategy.device_mesh["data_parallel"])
            scheme.players[name] = fabric.setup_module(player)
            self.parts[name] = list(player.optimised().values())  # type: ignore[operator]
            made = [optimiser(part, settings) for part in self.parts[name]]
            self.schedulers += [scheduler(o, settings, self._updates_an_epoch()) for o in made]
            self.optimisers[name] = [fabric.setup_optimizers(o) for o in made]
        self.taught = distillation_terms(scheme.terms()) if settings.dot else set()

    def _updates_an_epoch(self) -> int:
        return -(-self.steps // self.settings.accumulate)

    # an epoch, a batch, a turn

    def _epoch(self, scheme: Scheme, data: DataModule, batches: Iterator[Batch]) -> None:
        began, progress, settings = time.perf_counter(), self.progress, self.settings
        if progress.position == 0 and self._norms_are_due():
            batches = self._with_norms(scheme, batches)
        last_save = time.monotonic()
        for batch in batches:
            self._batch(scheme, batch)
            progress.step += 1
            progress.position += 1
            whole = progress.position % settings.accumulate == 0 or progress.position == self.steps
            log_point = whole and progress.step % settings.log_every < settings.accumulate
            if log_point or progress.position == self.steps:
                self._log()
            if whole and self._asked_to_stop(log_point):
                progress.seconds += time.perf_counter() - began
                self._stop(scheme)
            if whole and self._save_is_due(last_save, log_point):
                progress.seconds += time.perf_counter() - began
                began = time.perf_counter()
                self.save(scheme)
                last_save = time.monotonic()
        self._validate(scheme, data)
        progress.epoch += 1
        progress.position = 0
        progress.seconds += time.perf_counter() - began

    def _batches(self, data: DataModule, split: str, epoch: int, start: int, shared: bool = True) -> Generator[Batch]:
        settings, fabric = self.settings, self.fabric
        batches = data.batches(
            split,
            settings.batch_size // fabric.world_size,
            seed=settings.seed,
            epoch=epoch,
            start=start,
            train=split == "train",
            device=fabric.device,
            memory_format=self.layout,
            workers=settings.workers,
            views=settings.views,
            view_seed=settings.view_seed,
            rank=fabric.global_rank if shared else 0,
            world=fabric.world_size if shared else 1,
            **(self.batching if split == "train" else {}),
        )
        for i, batch in enumerate(batches, start):
            batch.epoch, batch.extras["epochs"] = epoch + i / self.steps, settings.epochs
            yield batch

    def _batch(self, scheme: Scheme, batch: Batch) -> None:
        """All turns of one batch; with accumulation, the optimisers step at the end of each group of batches."""
        k, position = self.settings.accumulate, self.progress.position
        begins, ends = position % k == 0, (position + 1) % k == 0 or position + 1 == self.steps
        share = min(k, self.steps - position // k * k)
        played: dict[str, Tensor] = {}
        with ExitStack() as stack:
            if not ends:
                for player in scheme.players.values():
                    stack.enter_context(self.fabric.no_backward_sync(player))
            for name, losses in scheme.turns(batch, self.progress.step):
                if k > 1 and any(key.startswith(f"{name}/") for key in played):
                    raise ConfigError(f"accumulate={k}: {name!r} plays several turns a batch, so use accumulate=1.")
                self._turn(name, losses, share, begins, ends)
                played |= {f"{name}/{term}": value.detach() for term, value in losses.items()}
        if ends:
            for schedule in self.schedulers:
                schedule.step()
            scheme.after_step()
            for name, average in self.averages.items():
                average.update_parameters(self.students[name])
        self.pending.append(played)

    def _turn(self, name: str, losses: dict[str, Tensor], share: int, begins: bool, ends: bool) -> None:
        optimisers = self.optimisers[name]
        if begins:
            for opt in optimisers:
                opt.zero_grad(set_to_none=True)
        if taught := {term: loss for term, loss in losses.items() if f"{name}/{term}" in self.taught}:
            self.fabric.backward(_sum(taught), retain_graph=True)
            self._clip(name)
            for opt in optimisers:
                opt.optimizer.stash_teacher_gradients()
            losses = {term: loss for term, loss in losses.items() if term not in taught}
        if losses:
            self.fabric.backward(_sum(losses) / share if share > 1 else _sum(losses))
        if not ends:
            return
        self._clip(name)
        for opt in optimisers:
            opt.step()

    def _clip(self, name: str) -> None:
        if self.settings.clip is not None:
            for opt, part in zip(self.optimisers[name], self.parts[name], strict=True):
                self.fabric.clip_gradients(part, opt, max_norm=self.settings.clip, error_if_nonfinite=False)

    # what is noted

    def _note(self, row: Row) -> None:
        if self.fabric.is_global_zero:
            for callback in self.callbacks:
                callback.note(row)

    def _resume(self) -> None:
        if self.folder is not None and self.fabric.is_global_zero:
            for callback in self.callbacks:
                callback.resume(self.progress.step, self.progress.epoch)

    def _log(self) -> None:
        """One look at the device: the mean of each term since the last, over the batches that had it."""
        names = list(dict.fromkeys(name for row in self.pending for name in row))  # terms may change at any batch
        if not names:
            return
        means = torch.stack([torch.stack([row[n].float() for row in self.pending if n in row]).mean() for n in names])
        means = self.fabric.all_reduce(means, reduce_op="mean")
        self.pending.clear()
        losses = {display_name(name): value for name, value in zip(names, means.tolist(), strict=True)}
        refuse_infinite(losses, self.progress.step, checkpoint.left(self.folder))
        epoch = self.progress.epoch + self.progress.position / self.steps
        row = {"kind": "step", "step": self.progress.step, "epoch": round(epoch, 4), "losses": losses}
        self._note(row | {"lr": self.schedulers[0].get_last_lr()[0]})

    def _norms_are_due(self) -> bool:
        every = max(self.settings.epochs // NORM_POINTS, 1)
        return self.progress.epoch % every == 0 and not self.settings.sharded

    def _with_norms(self, scheme: Scheme, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; the first is also used to measure each term's gradient norm."""
        first = next(batches)
        norms = self._norms(scheme, first)
        if scheme.balance(norms):
            norms = self._norms(scheme, first)
        found = {"norms": norms, "weights": scheme.weights()}
        shown = {key: {display_name(name): x for name, x in values.items()} for key, values in found.items() if values}
        self._note({"kind": "norms", "step": self.progress.step, "epoch": self.progress.epoch, **shown})
        yield first
        yield from batches

    def _norms(self, scheme: Scheme, batch: Batch) -> dict[str, float]:
        """The processes' mean."""
        norms = gradient_norms(scheme, batch, self.progress.step)
        means = self.fabric.all_reduce(torch.tensor(list(norms.values())), reduce_op="mean")
        return dict(zip(norms, means.tolist(), strict=True))

    def _validate(self, scheme: Scheme, data: DataModule) -> None:
        progress = self.progress
        networks = self.networks()
        name, student = next(iter(networks.items()))
        shared = 1 < self.fabric.world_size <= len(data.val)  # else each process sees all
        batches = self._batches(data, "val", progress.epoch, 0, shared)
        with self.fabric.autocast():
            figures = evaluate(student, batches, self.task, len(data.classes), shared=shared)
        row = {
            "kind": "epoch",
            "step": progress.step,
            "epoch": progress.epoch + 1,
            "val": figures.values,
            "student": name,
        }
        self._note(row)
        value = figures.values[self.task.metric]
        better = progress.best is None or (
            (value > progress.best) == self.task.higher_is_better and value != progress.best
        )
        if better:
            progress.best, progress.best_epoch = value, progress.epoch + 1
            if self.settings.keep == "best":
                self.best_weights = {
                    n: {k: v.detach().clone() for k, v in s.state_dict().items()} for n, s in networks.items()
                }

    def networks(self) -> dict[str, FeatureExtractor]:
        """What is validated and becomes the result: the students, whole copies of them, or their moving averages."""
        if self.settings.sharded:
            return {name: fsdp.with_full_weights(self.hollow[name], student) for name, student in self.students.items()}
        return {
            name: cast(FeatureExtractor, average.module) for name, average in self.averages.items()
        } or self.students

    def _patience_is_out(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.progress.epoch - self.progress.best_epoch >= patience

    def _result(self, scheme: Scheme) -> dict[str, nn.Module]:
        networks = self.networks()
        if self.settings.keep == "best" and self.best_weights is not None:
            for name, network in networks.items():
                network.load_state_dict(self.best_weights[name])
        return {name: network.close().eval() for name, network in networks.items()}

    # checkpoints and signals

    def save(self, scheme: Scheme) -> None:
        """Write a checkpoint with everything that the rest of the run depends on."""
        self._log()
        state = {
            "progress": asdict(self.progress),
            "players": {
                name: fsdp.full_state_dict(unwrap(player).state_dict()) for name, player in scheme.players.items()
            },
            "optimisers": {
                name: fsdp.full_state_dict([o.state_dict() for o in opts]) for name, opts in self.optimisers.items()
            },
            "schedulers": [schedule.state_dict() for schedule in self.schedulers],
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "scheme": scheme.checkpoint_state(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "random": all_of(checkpoint.random_state()),
            "best_weights": self.best_weights,
            "threads": torch.get_num_threads(),
        }
        if self.folder is not None and self.fabric.is_global_zero:
            checkpoint.save(self.folder, self.progress.step, state)
        self.fabric.barrier()

    def _take_back(self, scheme: Scheme) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        state = checkpoint.load(self.folder, self._warn) if self.folder is not None else None
        if state is None:
            self._resume()
            return
        try:
            for name, player in scheme.players.items():
                fsdp.load(unwrap(player), state["players"][name])
                for opt, saved in zip(self.optimisers[name], state["optimisers"][name], strict=True):
                    fsdp.load_optimiser(opt, saved)
            for schedule, saved in zip(self.schedulers, state["schedulers"], strict=True):
                restore_schedule(schedule, saved)
            for name, average in self.averages.items():
                average.load_state_dict(state["averages"][name])
        except (RuntimeError, KeyError, ValueError) as error:
            raise TutelageError(f"the checkpoint in {self.folder} is of another run: {error}") from error
        scheme.load_checkpoint_state(state["scheme"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.best_weights = state["best_weights"]
        self.progress = Progress(**state["progress"])
        if state["threads"] != torch.get_num_threads():
            self._warn(
                f"the run used {state['threads']} threads and now has {torch.get_num_threads()}: it goes on, but not "
                "to the same bits (set OMP_NUM_THREADS)."
            )
        checkpoint.set_random_state(state["random"][self.fabric.global_rank])
        self._resume()

    def _warn(self, message: str) -> None:
        self._note({"kind": "warning", "step": self.progress.step, "message": message})

    def _save_is_due(self, last: float, log_point: bool) -> bool:
        if self.folder is None:
            return False
        if self.fabric.world_size == 1:
            return time.monotonic() - last >= self.settings.checkpoint_every
        if not log_point and self.settings.checkpoint_every > 0:  # processes agree at log points
            return False
        return bool(self.fabric.broadcast(time.monotonic() - last >= self.settings.checkpoint_every))

    def _asked_to_stop(self, log_point: bool) -> bool:
        if self.fabric.world_size > 1 and log_point:
            asked = torch.tensor(float(self.wish.number), device=self.fabric.device)
            self.wish.number = int(self.fabric.all_reduce(asked, reduce_op="max").item())
        return self.wish.number != 0 and (log_point or self.fabric.world_size == 1)

    def _stop(self, scheme: Scheme) -> None:
        self.save(scheme)
        kept = f"saved in {self.folder}" if self.folder else "nothing was saved: there is no folder"
        raise Interrupted(f"stopped by {self.wish.name} at step {self.progress.step}; {kept}.")


def _sum(losses: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum() if len(losses) > 1 else next(iter(losses.values()))
