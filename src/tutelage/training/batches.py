"""The training and validation batches of one training."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from tutelage.data.data_module import DataModule
from tutelage.data.mixing import Mixing
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch


@dataclass(frozen=True)
class TrainingBatches:
    """The batches of this process, on its device, each with its epoch as a fraction and the number of epochs.

    Args:
        data: the data set.
        settings: the batch size, seed, workers, views and memory format.
        fabric: Lightning Fabric, which knows the device and this process's rank.
        batching: the scheme's requirements for training batches (`Scheme.batching`).
    """

    data: DataModule
    settings: TrainerSettings
    fabric: Any
    batching: Mapping[str, Any]

    @cached_property
    def steps(self) -> int:
        """The number of training batches per epoch."""
        world = self.fabric.world_size
        return self.data.steps(self.settings.batch_size // world, world)

    @cached_property
    def mixing(self) -> Mixing | None:
        """The mixing of training batches, if there is one."""
        return Mixing.of(self.settings.mix)

    @property
    def memory_format(self) -> torch.memory_format | None:
        """The memory format of images and weights; None leaves it unchanged."""
        return torch.channels_last if self.settings.channels_last and not self.settings.sharded else None

    @property
    def validation_is_shared(self) -> bool:
        """True if each process validates on a part of the samples; otherwise each validates on all of them."""
        return 1 < self.fabric.world_size <= len(self.data.val)

    def train(self, epoch: int, start: int = 0) -> Generator[Batch]:
        """Return the training batches of an epoch, from batch number `start` on."""
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
            memory_format=self.memory_format,
            workers=settings.workers,
            views=settings.views,
            view_seed=settings.view_seed,
            rank=fabric.global_rank if shared else 0,
            world=fabric.world_size if shared else 1,
            **batching,
        )
        mixing = self.mixing if split == "train" else None
        for i, batch in enumerate(batches, start):
            extras = batch.extras | {"epochs": settings.epochs}
            timed = replace(batch, epoch=epoch + i / self.steps, extras=extras)
            yield timed if mixing is None else mixing.mix(timed, self.data.target, (settings.seed, epoch, i))
