"""A teacher that runs on later batches while the student learns from the current one."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.structures import Batch, Outputs, move
from tutelage.teachers.base import Teacher, TeacherWrapper
from tutelage.utils.compat import Conversion, ConvertibleModule
from tutelage.utils.options import SmallCountOrZero

Prefetched = tuple[Batch, "Future[Outputs]"]


class PrefetchingTeacher(ConvertibleModule, TeacherWrapper):
    """A teacher that runs up to `depth` batches ahead, in a separate thread and optionally on a separate device.

    The outputs are those of the wrapped teacher, on the device of the batch. An exception is raised at its own batch.

    Args:
        teacher: the wrapped teacher.
        depth: the number of batches by which it runs ahead.
        device: the teacher's device, such as "cuda:1"; None: the device of the batch.

    Raises: ConfigError if depth is negative, the device isn't available, or training changes the teacher (moving
    average).

    Example:
        >>> import torch
        >>> from tutelage import Batch, Classification, Frozen, PrefetchingTeacher, models
        >>> frozen = Frozen(models.create("cnn8", classes=10, channels=1).model, Classification())
        >>> teacher = PrefetchingTeacher(frozen, depth=2)
        >>> batches = (Batch(torch.randn(4, 1, 8, 8)) for _ in range(3))
        >>> [tuple(teacher(batch).response.shape) for batch in teacher.prefetch(batches)]
        [(4, 10), (4, 10), (4, 10)]
    """

    name = "ahead"

    def __init__(self, teacher: Teacher, depth: SmallCountOrZero = 2, device: str | None = None) -> None:
        super().__init__(teacher)
        if teacher.changes_in_training():
            raise ConfigError(
                f"{type(teacher).__name__} changes in training, so it can't run ahead or on another device: use a "
                "frozen teacher, or remove teacher_ahead and teacher_device."
            )
        self.depth = depth
        self.device = None if device is None else require_device(device)
        self.pool: ThreadPoolExecutor | None = None
        self.ready: tuple[Batch, tuple[str, ...], Outputs] | None = None
        self.to(self.device)

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the outputs, which are computed already if the batch came from `prefetch`."""
        if self.ready is not None and self.ready[0] is batch and self.ready[1] == tuple(layers):
            return self.ready[2]
        if self.pool is not None:  # only one thread runs the network
            return self.pool.submit(self._predict, batch, layers).result()
        return self._predict(batch, layers)

    def _predict(self, batch: Batch, layers: Sequence[str]) -> Outputs:
        if self.device is None:
            return self.teacher(batch, layers)
        return self.teacher(batch.to(self.device), layers).to(_device(batch))

    def prefetch(self, batches: Iterable[Batch], layers: Sequence[str] = ()) -> Generator[Batch]:
        """Yield the batches while the teacher runs on later ones; closing the generator ends the thread."""
        if not self.depth:
            yield from batches
            return
        queue: deque[Prefetched] = deque()
        with ThreadPoolExecutor(1, "teacher") as self.pool:
            try:
                for batch in batches:
                    queue.append((batch, self.pool.submit(self._predict, batch, layers)))
                    if len(queue) > self.depth:
                        yield self._next(queue, layers)
                while queue:
                    yield self._next(queue, layers)
            finally:
                for _, future in queue:
                    future.cancel()
                self.pool = self.ready = None

    def _next(self, queue: deque[Prefetched], layers: Sequence[str]) -> Batch:
        batch, future = queue.popleft()
        self.ready = batch, tuple(layers), future.result()
        return batch

    def profile(self, batch: Batch) -> ModelProfile:
        """Return the wrapped teacher's profile, with features on the device of the batch."""
        if self.device is None:
            return self.teacher.profile(batch)
        return move_profile(self.teacher.profile(batch.to(self.device)), _device(batch))

    def convert(self, conversion: Conversion, recurse: bool = True) -> None:
        """Keep the teacher on its own device."""
        device = self.device
        super().convert(conversion if device is None else lambda x: conversion(x).to(device), recurse)


def with_prefetch(teacher: Teacher | None, ahead: int, device: str | None) -> Teacher | None:
    """Return the teacher running `ahead` batches ahead and on `device`; unchanged if neither is set."""
    return PrefetchingTeacher(teacher, ahead, device) if teacher is not None and (ahead or device) else teacher


def move_profile(profile: ModelProfile, device: torch.device) -> ModelProfile:
    """Return the profile with its tensors on another device."""
    return replace(
        profile,
        response=move(profile.response, device),
        metadata=move(profile.metadata, device),
        feature=lambda layer: profile.feature(layer).to(device),
        member_profiles=[move_profile(member, device) for member in profile.member_profiles],
    )


def _device(batch: Batch) -> torch.device:
    return (batch.inputs if isinstance(batch.inputs, Tensor) else next(iter(batch.inputs.values()))).device


def require_device(name: str) -> torch.device:
    """Return the device of that name.

    Raises: ConfigError if it isn't available.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"teacher_device={name}: {str(error).splitlines()[0]}; expected cpu, cuda, cuda:1, …"
        ) from error
    return device
