"""What the phases of a run leave for later phases: on disk, or, in a dry run, nothing but freshly made stand-ins."""

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
    """What earlier phases of a run left."""

    @property
    def folder(self) -> Path:
        """The run folder."""

    def network(
        self, phase: str, epoch: int | None, provided: nn.Module | None, make: Callable[[], LoadedNetwork]
    ) -> LoadedNetwork:
        """Return the network that a phase left, at its end or after an epoch; `make` makes its first one."""

    def terms(self, phase: str) -> dict[str, Tensor]:
        """Return the state of the terms that a phase left."""

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
    """A dry run's: nothing is trained, so every phase leaves its network and its terms as they begin."""

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
