"""The batches of one training."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from tutelage.data.data_module import DataModule
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch


@dataclass(frozen=True)
class TrainingBatches:
    """This process's batches of the data, on its device, each with its time in the training.

    batching: what the scheme requires of training batches (`Scheme.batching`).
    """

    data: DataModule
    settings: TrainerSettings
    fabric: Any
    batching: Mapping[str, Any]

    @cached_property
    def steps(self) -> int:
        """Return the training batches of an epoch."""
        world = self.fabric.world_size
        return self.data.steps(self.settings.batch_size // world, world)

    @property
    def layout(self) -> torch.memory_format | None:
        """The memory format of images and weights; None: unchanged."""
        return torch.channels_last if self.settings.channels_last and not self.settings.sharded else None

    @property
    def validation_is_shared(self) -> bool:
        """True if each process validates a part; else each validates on all samples."""
        return 1 < self.fabric.world_size <= len(self.data.val)

    def train(self, epoch: int, start: int = 0) -> Generator[Batch]:
        """Return the training batches of an epoch, from its `start`-th."""
        return self._batches("train", epoch, start, True, self.batching)

    def validation(self, epoch: int) -> Generator[Batch]:
        """Return the validation batches after an epoch."""
        return self._batches("val", epoch, 0, self.validation_is_shared, {})

    def _batches(
        self, split: str, epoch: int, start: int, shared: bool, batching: Mapping[str, Any]
    ) -> Generator[Batch]:
        settings, fabric = self.settings, self.fabric
        batches = self.data.batches(
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
            **batching,
        )
        for i, batch in enumerate(batches, start):
            batch.epoch, batch.extras["epochs"] = epoch + i / self.steps, settings.epochs
            yield batch
