"""A teacher whose outputs are cached on disk."""

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
from tutelage.cache.store import CachedView, CacheStore, plan_storage
from tutelage.data.data_module import DataModule
from tutelage.errors import CacheError, ConfigError
from tutelage.nn.connectors import as_vector
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher, TeacherWrapper

MEAN_PREFIX = "mean:"
"""The prefix of a layer's name if its mean over positions is stored."""

MEMBER_PREFIX = f"{RESPONSE}:"
"""The prefix of an ensemble member's number, whose response is stored in addition to the mean."""


@dataclass(frozen=True)
class CachePlan:
    """The settings by which a cache is built.

    Attributes:
        folder: the folder of the cache.
        storage: the storage of responses; features are stored in the corresponding feature storage.
        views: the number of augmented views per sample.
        view_seed: the seed of the augmentations.
        batch_size: the number of samples per forward, as in training.
        device: the device of the batches, as in training.
        memory_format: the memory format of the batches, as in training.
        workers: the number of processes that load samples.
    """

    folder: Path
    storage: str = "fp16"
    views: int = 4
    view_seed: int = 0
    batch_size: int = 64
    device: torch.device | str = "cpu"
    memory_format: torch.memory_format | None = None
    workers: int = 0


class Cached(TeacherWrapper):
    """A frozen teacher that is run once on each view of each training sample; its outputs are then read from disk.

    A missing view is built when its first batch arrives: all samples in order, unit by unit, with each shard written
    completely or not at all. Units that other processes have built are used, and units that they are building are
    waited for. Batches without a view number (validation) are passed to the teacher itself. With storage "exact" the
    outputs are bitwise identical to the teacher's, provided that the network's output for one sample doesn't depend on
    the other samples of the batch.
    Layers that are only used as vectors are stored averaged over positions. Each member's response of an ensemble is
    stored in addition to the mean if a term compares with each member.

    Args:
        teacher: the teacher.
        data: the data, whose training split is cached.
        plan: where and how to store the outputs.

    Raises: ConfigError if the teacher changes in training; CacheError if the cache on disk is a different one.
    """

    def __init__(self, teacher: Teacher, data: DataModule, plan: CachePlan) -> None:
        super().__init__(teacher)
        self.data, self.plan = data, plan
        self.store = CacheStore(
            plan.folder, cache_identity(require_identity(teacher), data, plan), len(data.train), plan.views
        )
        self.tensor_layers: dict[str, str] = {RESPONSE: ""}
        self.member_tensors: list[str] = []
        self.loaded: tuple[int, dict[str, CachedView]] = (-1, {})

    def prepare_for(self, layers: Sequence[str], vectors: Sequence[str] = (), member_outputs: bool = False) -> None:
        """Set what is stored: the response, these layers, and with `member_outputs` the members' responses.

        Raises: ConfigError if a layer has the name of the response.
        """
        if RESPONSE in layers:
            raise ConfigError("the teacher has a layer named 'response', so it can't be cached; use cache=false.")
        count = len(self.teacher.member_teachers()) if member_outputs else 0
        self.member_tensors = [f"{MEMBER_PREFIX}{m}" for m in range(count)]
        self.tensor_layers = dict.fromkeys((RESPONSE, *self.member_tensors), "")
        self.tensor_layers |= {(MEAN_PREFIX if layer in vectors else "") + layer: layer for layer in layers}
        self.loaded = (-1, {})
        super().prepare_for(layers, vectors, member_outputs)

    def prefetch(self, batches: Generator[Batch], layers: Sequence[str] = ()) -> Generator[Batch]:
        """Return the batches unchanged: their outputs are read from disk."""
        return batches

    @torch.no_grad()
    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the cached outputs for the batch's view; without a view, run the teacher."""
        if batch.view is None or batch.index is None:
            return self.teacher(batch, layers)
        rows = self._rows(batch.view)
        index = batch.index.cpu()
        outputs = {
            tensor: rows[tensor][index].to(batch.index.device, non_blocking=True) for tensor in self.tensor_layers
        }
        features = {layer: outputs[tensor] for tensor, layer in self.tensor_layers.items() if layer}
        members = [
            Outputs(outputs[tensor], _member_features(features, m)) for m, tensor in enumerate(self.member_tensors)
        ]
        return Outputs(outputs[RESPONSE], features, self.metadata, members)

    def _rows(self, view: int) -> dict[str, CachedView]:
        if not 0 <= view < self.plan.views:
            raise CacheError(f"a batch has view {view}, but the cache {self.plan.folder} has {self.plan.views} views.")
        if self.loaded[0] != view:
            self.build(view)
            self.loaded = view, {tensor: self.store.read_view(view, tensor) for tensor in self.tensor_layers}
        return self.loaded[1]

    # building

    def build(self, view: int) -> None:
        """Build all of a view, sharing the work with other processes that build it at the same time."""
        for wait in (False, True):  # first the units that no process is building, then those that others were building
            for number in self.missing(view):
                self.build_unit(view, number, wait)

    def missing(self, view: int) -> list[int]:
        """Return the numbers of the view's units that aren't completely on disk."""
        self._plan_tensors(view)
        return [n for n, span in enumerate(self._units()) if self._missing(view, *span)]

    def build_unit(self, view: int, number: int, wait: bool = True) -> None:
        """Build one unit unless it is on disk; without `wait`, skip a unit that another process is building."""
        with suppress(Timeout), self.store.lock(f"view{view}-unit{number}", wait):
            span = self._units()[number]
            if missing := self._missing(view, *span):
                self.store.register_shards(self._unit(view, *span, missing))

    def _units(self) -> list[tuple[int, int]]:
        count, unit = len(self.data.train), self.store.manifest.unit
        return [(first, min(first + unit, count)) for first in range(0, count, unit)]

    def _missing(self, view: int, first: int, last: int) -> dict[str, CachedTensor]:
        """Return the tensors of which some of these samples aren't on disk."""
        missing = {}
        for name in self.tensor_layers:
            tensor = self.store.manifest.tensors[name]
            shards = [shard_name(view, name, number) for number in range(first // tensor.rows, -(-last // tensor.rows))]
            if not self.store.manifest.shards.keys() >= set(shards):
                missing[name] = tensor
        return missing

    def _plan_tensors(self, view: int) -> None:
        """Add new tensors to the manifest, with shapes from the outputs for one batch."""
        new = [tensor for tensor in self.tensor_layers if tensor not in self.store.manifest.tensors]
        if new:
            batch = next(self._batches(view, 0, min(self.plan.batch_size, len(self.data.train))))
            outputs = self._outputs_by_tensor(batch, new)
            name, unit = self.plan.storage, self.store.manifest.unit
            self.store.register_tensors(
                {
                    tensor: plan_storage(
                        x.shape[1:], name if is_response(tensor) else feature_storage(name), _is_nhwc(x), unit
                    )
                    for tensor, x in outputs.items()
                }
            )

    def _batches(self, view: int, first: int, last: int) -> Any:
        p = self.plan
        index_batches = list(torch.arange(first, last).split(p.batch_size))
        return self.data.view_batches(index_batches, view, p.view_seed, p.device, p.memory_format, p.workers)

    def _outputs_by_tensor(self, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
        """Run the teacher on a batch, and return these tensors of its outputs by name."""
        teacher_outputs = self.teacher(batch, [layer for layer in self.tensor_layers.values() if layer])
        tensors = {RESPONSE: teacher_outputs.response} | {
            tensor: teacher_outputs.member_outputs[m].response for m, tensor in enumerate(self.member_tensors)
        }
        for tensor, layer in self.tensor_layers.items():
            if layer:
                tensors[tensor] = (
                    as_vector(teacher_outputs[layer]) if tensor.startswith(MEAN_PREFIX) else teacher_outputs[layer]
                )
        return {tensor: tensors[tensor].float() for tensor in names}

    def _unit(self, view: int, first: int, last: int, tensors: dict[str, CachedTensor]) -> dict[str, Shard]:
        """Run the teacher on some samples, and write their shards."""
        pending: dict[str, list[Tensor]] = {tensor: [] for tensor in tensors}
        shards: dict[str, Shard] = {}
        done = first
        for batch in self._batches(view, first, last):
            done += len(batch)
            for tensor, x in self._outputs_by_tensor(batch, list(tensors)).items():
                pending[tensor].append(x.cpu())
                rows = tensors[tensor].rows
                while sum(map(len, pending[tensor])) >= rows or (done == last and pending[tensor]):
                    joined = torch.cat(pending[tensor])
                    start = done - len(joined)
                    name, shard = self.store.write_shard(view, tensor, start // rows, joined[:rows])
                    shards[name] = shard
                    pending[tensor] = [joined[rows:]] if len(joined) > rows else []
        return shards


def _member_features(features: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """Return the features of one ensemble member, under that member's own layer names."""
    prefix = f"{number}."
    return {layer.removeprefix(prefix): x for layer, x in features.items() if layer.startswith(prefix)}


def require_identity(teacher: Teacher) -> dict[str, Any]:
    """Return the identity of a teacher, which determines its outputs.

    Raises: ConfigError if the outputs change in training.
    """
    identity = teacher.identity()
    if identity is None:
        while isinstance(teacher, TeacherWrapper):
            teacher = teacher.teacher
        raise ConfigError(
            f"{type(teacher).__name__} changes in training, so its outputs can't be cached; use cache=false."
        )
    return identity


def cache_identity(identity: dict[str, Any], data: DataModule, plan: CachePlan) -> dict[str, Any]:
    """Return everything that determines the content of a cache."""
    return {
        "teacher": identity,
        "data": data.train.fingerprint(),
        "transform": {
            "augment": data.augment,
            "size": list(data.size),
            "mean": list(data.mean),
            "std": list(data.std),
            **({} if data.source_scale.mean is None else {"came": [data.source_scale.mean, data.source_scale.std]}),
        },
        "views": plan.views,
        "view_seed": plan.view_seed,
        "storage": plan.storage,
        "channels_last": plan.memory_format is torch.channels_last,
    }


def _is_nhwc(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
