"""A teacher whose answers are kept on disk."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from torch import Tensor

from tutelage.cache.codecs import feature_storage
from tutelage.cache.manifest import RESPONSE, CachedTensor, Shard, is_response, shard_name
from tutelage.cache.store import CachedView, Store, plan
from tutelage.data.data_module import DataModule
from tutelage.errors import CacheError, ConfigError
from tutelage.nn.connectors import as_vector
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher, TeacherWrapper

POOLED = "mean:"
"""What stands before a layer's name where its mean over positions is kept."""

MEMBER = f"{RESPONSE}:"
"""What stands before the number of one of several teachers whose response is kept beside their mean."""


@dataclass(frozen=True)
class Plan:
    """How a cache is made: its folder, storage, views and their seed; batches, device and layout as in training."""

    folder: Path
    storage: str = "fp16"
    views: int = 4
    view_seed: int = 0
    batch_size: int = 64
    device: torch.device | str = "cpu"
    memory_format: torch.memory_format | None = None
    workers: int = 0


class Cached(TeacherWrapper):
    """A teacher that doesn't change, asked once about each view of each training sample and then read from disk.

    A view that isn't there yet is built when its first batch comes: all samples in their order, unit by unit, each
    shard whole or not at all; what others have built is used, and what others are building is waited for. Batches whose
    views aren't counted (validation) go to the teacher itself. With storage "exact" the answers are the teacher's own,
    bit by bit, wherever a network's answer to one sample doesn't depend on the others in the batch.
    Layers that are only asked for as vectors are kept averaged over positions. Of several teachers each one's response
    is kept beside the mean if a term compares with each.
    Raises: ConfigError if the teacher changes in training; CacheError if what is on disk isn't what was asked for.
    """

    def __init__(self, teacher: Teacher, data: DataModule, plan: Plan) -> None:
        super().__init__(teacher)
        self.data, self.plan = data, plan
        self.store = Store(plan.folder, about(identity_of(teacher), data, plan), len(data.train), plan.views)
        self.taps: dict[str, str] = {RESPONSE: ""}
        self.members: list[str] = []
        self.held: tuple[int, dict[str, CachedView]] = (-1, {})

    def prepare_for(self, layers: Sequence[str], vectors: Sequence[str] = (), members: bool = False) -> None:
        """Note what is to be kept: the response, these layers, and what each of several teachers says.

        Raises: ConfigError if a layer is called as the response is.
        """
        if RESPONSE in layers:
            raise ConfigError("the teacher has a layer of the name 'response', so it can't be cached; use cache=false.")
        count = len(self.teacher.teachers()) if members else 0
        self.members = [f"{MEMBER}{m}" for m in range(count)]
        self.taps = dict.fromkeys((RESPONSE, *self.members), "")
        self.taps |= {(POOLED if layer in vectors else "") + layer: layer for layer in layers}
        self.held = (-1, {})
        super().prepare_for(layers, vectors, members)

    def lookahead(self, batches: Generator[Batch], layers: Sequence[str] = ()) -> Generator[Batch]:
        """The batches: there is nothing to ask the teacher."""
        return batches

    @torch.no_grad()
    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """What is kept of the batch's view."""
        if batch.view is None or batch.index is None:
            return self.teacher(batch, layers)
        rows = self._rows(batch.view)
        index = batch.index.cpu()
        said = {tap: rows[tap][index].to(batch.index.device, non_blocking=True) for tap in self.taps}
        features = {layer: said[tap] for tap, layer in self.taps.items() if layer}
        teacher_outputs = [Outputs(said[tap], _of_member(features, m)) for m, tap in enumerate(self.members)]
        return Outputs(said[RESPONSE], features, self.metadata, teacher_outputs)

    def _rows(self, view: int) -> dict[str, CachedView]:
        if not 0 <= view < self.plan.views:
            raise CacheError(f"a batch is of view {view}, the cache {self.plan.folder} of {self.plan.views} views.")
        if self.held[0] != view:
            self.build(view)
            self.held = view, {tap: self.store.rows(view, tap) for tap in self.taps}
        return self.held[1]

    # building

    def build(self, view: int) -> None:
        """Have all of a view on disk, with what others do at the same time."""
        for wait in (False, True):  # first the units that nobody is at, then those that others were at
            for number in self.missing(view):
                self.build_unit(view, number, wait)

    def missing(self, view: int) -> list[int]:
        """The view's units of samples of which something isn't on disk yet."""
        self._plan_taps(view)
        return [n for n, span in enumerate(self._units()) if self._missing(view, *span)]

    def build_unit(self, view: int, number: int, wait: bool = True) -> None:
        """Have one unit on disk; unless told to wait, leave one that another process is at."""
        with suppress(Timeout), self.store.working(f"view{view}-unit{number}", wait):
            span = self._units()[number]
            if missing := self._missing(view, *span):
                self.store.register(self._unit(view, *span, missing))

    def _units(self) -> list[tuple[int, int]]:
        count, unit = len(self.data.train), self.store.manifest.unit
        return [(first, min(first + unit, count)) for first in range(0, count, unit)]

    def _missing(self, view: int, first: int, last: int) -> dict[str, CachedTensor]:
        """The taps of which these samples aren't all there."""
        found = {}
        for name in self.taps:
            tap = self.store.manifest.taps[name]
            shards = [shard_name(view, name, number) for number in range(first // tap.rows, -(-last // tap.rows))]
            if not self.store.manifest.shards.keys() >= set(shards):
                found[name] = tap
        return found

    def _plan_taps(self, view: int) -> None:
        """Make room in the manifest, from the shapes of one batch's answers."""
        new = [tap for tap in self.taps if tap not in self.store.manifest.taps]
        if new:
            batch = next(self._batches(view, 0, min(self.plan.batch_size, len(self.data.train))))
            said = self._said(batch, new)
            name, unit = self.plan.storage, self.store.manifest.unit
            self.store.add(
                {
                    tap: plan(x.shape[1:], name if is_response(tap) else feature_storage(name), _is_nhwc(x), unit)
                    for tap, x in said.items()
                }
            )

    def _batches(self, view: int, first: int, last: int) -> Any:
        p = self.plan
        lots = list(torch.arange(first, last).split(p.batch_size))
        return self.data.viewed(lots, view, p.view_seed, p.device, p.memory_format, p.workers)

    def _said(self, batch: Batch, taps: Sequence[str]) -> dict[str, Tensor]:
        """What the teacher says of a batch, by tap."""
        teacher_outputs = self.teacher(batch, [layer for layer in self.taps.values() if layer])
        every = {RESPONSE: teacher_outputs.response} | {
            tap: teacher_outputs.members[m].response for m, tap in enumerate(self.members)
        }
        for tap, layer in self.taps.items():
            if layer:
                every[tap] = as_vector(teacher_outputs[layer]) if tap.startswith(POOLED) else teacher_outputs[layer]
        return {tap: every[tap].float() for tap in taps}

    def _unit(self, view: int, first: int, last: int, taps: dict[str, CachedTensor]) -> dict[str, Shard]:
        """Ask the teacher about some samples, and write the shards that they make."""
        kept: dict[str, list[Tensor]] = {tap: [] for tap in taps}
        shards: dict[str, Shard] = {}
        done = first
        for batch in self._batches(view, first, last):
            done += len(batch)
            for tap, x in self._said(batch, list(taps)).items():
                kept[tap].append(x.cpu())
                rows = taps[tap].rows
                while sum(map(len, kept[tap])) >= rows or (done == last and kept[tap]):
                    whole = torch.cat(kept[tap])
                    start = done - len(whole)
                    name, shard = self.store.write(view, tap, start // rows, whole[:rows])
                    shards[name] = shard
                    kept[tap] = [whole[rows:]] if len(whole) > rows else []
        return shards


def _of_member(features: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """The features of one of several teachers, under its own names."""
    before = f"{number}."
    return {layer.removeprefix(before): x for layer, x in features.items() if layer.startswith(before)}


def identity_of(teacher: Teacher) -> dict[str, Any]:
    """What the teacher's answers depend on.

    Raises: ConfigError if they change while it teaches.
    """
    identity = teacher.identity()
    if identity is None:
        while isinstance(teacher, TeacherWrapper):
            teacher = teacher.teacher
        raise ConfigError(
            f"{type(teacher).__name__} changes while it teaches, so its answers can't be cached; use cache=false."
        )
    return identity


def about(identity: dict[str, Any], data: DataModule, plan: Plan) -> dict[str, Any]:
    """What a cache's numbers depend on."""
    return {
        "teacher": identity,
        "data": data.train.fingerprint(),
        "transform": {
            "augment": data.augment,
            "size": list(data.size),
            "mean": list(data.mean),
            "std": list(data.std),
            **({} if data.came.mean is None else {"came": [data.came.mean, data.came.std]}),
        },
        "views": plan.views,
        "view_seed": plan.view_seed,
        "storage": plan.storage,
        "channels_last": plan.memory_format is torch.channels_last,
    }


def _is_nhwc(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
