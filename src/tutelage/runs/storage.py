"""The networks and terms that later phases take from earlier ones: from disk, or freshly made in a dry run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from tutelage.models import serialization
from tutelage.runs.loaded_network import LoadedNetwork
from tutelage.teachers.base import Teacher

Cache = Callable[[Teacher], Teacher]


class RunStorage(Protocol):
    """The results of earlier phases of a run."""

    @property
    def folder(self) -> Path:
        """The run folder."""

    def network(
        self, phase: str, epoch: int | None, provided: nn.Module | None, make: Callable[[], LoadedNetwork]
    ) -> LoadedNetwork:
        """Return a finished phase's network, at its end or after an epoch; `make` makes the untrained one."""

    def terms(self, phase: str) -> dict[str, Tensor]:
        """Return the state that a finished phase's terms have."""

    def cached(self, teacher: Teacher, cache: Cache) -> Teacher:
        """Return the teacher with its cache on disk, if there is a disk."""


@dataclass(frozen=True)
class FolderStorage:
    """The run folder: networks and terms are loaded from the phases' folders, and caches lie on disk."""

    folder: Path

    def network(
        self, phase: str, epoch: int | None, provided: nn.Module | None, make: Callable[[], LoadedNetwork]
    ) -> LoadedNetwork:
        """Load the network from the phase's folder, into a copy of the provided module if there is one."""
        path = self.folder / phase / ("model.safetensors" if epoch is None else f"epoch-{epoch}.safetensors")
        return LoadedNetwork.from_card(serialization.load(path, copy.deepcopy(provided)))

    def terms(self, phase: str) -> dict[str, Tensor]:
        """Load the terms' state from the phase's folder."""
        return serialization.load_tensors(self.folder / phase / "terms.safetensors")

    def cached(self, teacher: Teacher, cache: Cache) -> Teacher:
        """Return the teacher that reads and fills the cache."""
        return cache(teacher)


@dataclass(frozen=True)
class DryStorage:
    """The storage of a dry run: nothing is trained, so each phase's network and terms are those that it begins with."""

    folder: Path = field(default_factory=Path)
    states: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def network(
        self, phase: str, epoch: int | None, provided: nn.Module | None, make: Callable[[], LoadedNetwork]
    ) -> LoadedNetwork:
        """Return the phase's network as it begins; it counts as trained."""
        return replace(make(), untrained="")

    def terms(self, phase: str) -> dict[str, Tensor]:
        """Return the terms' first state."""
        return self.states[phase]

    def cached(self, teacher: Teacher, cache: Cache) -> Teacher:
        """Return the teacher itself."""
        return teacher
