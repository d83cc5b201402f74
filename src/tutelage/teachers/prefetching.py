"""A teacher that answers the coming batches while the student learns from this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.structures import Batch, Outputs, move
from tutelage.teachers.base import Teacher, TeacherWrapper
from tutelage.utils.options import FewOrZero

Asked = tuple[Batch, "Future[Outputs]"]


class PrefetchingTeacher(TeacherWrapper):
    """Answers up to `depth` batches ahead, in a thread of its own, and on a device of its own if it is given one.

    The answers are those of the teacher itself, on the device of the batch. A failure is raised at its own batch.
    Raises: ConfigError if depth is negative, the device isn't there, or training changes the teacher (moving average).
    """

    name = "ahead"

    def __init__(self, teacher: Teacher, depth: FewOrZero = 2, device: str | None = None) -> None:
        super().__init__(teacher)
        if teacher.changes():
            raise ConfigError(
                f"{type(teacher).__name__} changes in training, so it can't answer ahead or elsewhere: use a teacher "
                "that is already trained, or leave out teacher_ahead and teacher_device."
            )
        self.depth = depth
        self.device = None if device is None else existing(device)
        self.pool: ThreadPoolExecutor | None = None
        self.answered: tuple[Batch, tuple[str, ...], Outputs] | None = None
        self.to(self.device)

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """The answer, which is there already if the batch came by `ahead`."""
        if self.answered is not None and self.answered[0] is batch and self.answered[1] == tuple(layers):
            return self.answered[2]
        if self.pool is not None:  # one thread alone runs the network
            return self.pool.submit(self._say, batch, layers).result()
        return self._say(batch, layers)

    def _say(self, batch: Batch, layers: Sequence[str]) -> Outputs:
        if self.device is None:
            return self.teacher(batch, layers)
        return self.teacher(batch.to(self.device), layers).to(_device(batch))

    def lookahead(self, batches: Iterable[Batch], layers: Sequence[str] = ()) -> Generator[Batch]:
        """The same batches, while the teacher answers those to come; closing it ends the thread."""
        if not self.depth:
            yield from batches
            return
        asked: deque[Asked] = deque()
        with ThreadPoolExecutor(1, "teacher") as self.pool:
            try:
                for batch in batches:
                    asked.append((batch, self.pool.submit(self._say, batch, layers)))
                    if len(asked) > self.depth:
                        yield self._next(asked, layers)
                while asked:
                    yield self._next(asked, layers)
            finally:
                for _, answer in asked:
                    answer.cancel()
                self.pool = self.answered = None

    def _next(self, asked: deque[Asked], layers: Sequence[str]) -> Batch:
        batch, answer = asked.popleft()
        self.answered = batch, tuple(layers), answer.result()
        return batch

    def profile(self, batch: Batch) -> ModelProfile:
        """The teacher's, with features on the device of the batch."""
        if self.device is None:
            return self.teacher.profile(batch)
        return fetched(self.teacher.profile(batch.to(self.device)), _device(batch))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PrefetchingTeacher:
        """Stay on its own device."""
        device = self.device
        return super()._apply(fn if device is None else lambda x: fn(x).to(device), recurse)  # type: ignore[no-untyped-call]


def with_prefetch(teacher: Teacher | None, ahead: int, device: str | None) -> Teacher | None:
    """The teacher so many batches ahead of the student and on a device of its own, as far as there are any."""
    return PrefetchingTeacher(teacher, ahead, device) if teacher is not None and (ahead or device) else teacher


def fetched(profile: ModelProfile, device: torch.device) -> ModelProfile:
    """Return the profile with its tensors on another device."""
    return replace(
        profile,
        response=move(profile.response, device),
        metadata=move(profile.metadata, device),
        feature=lambda layer: profile.feature(layer).to(device),
        members=[fetched(member, device) for member in profile.members],
    )


def _device(batch: Batch) -> torch.device:
    return (batch.inputs if isinstance(batch.inputs, Tensor) else next(iter(batch.inputs.values()))).device


def existing(name: str) -> torch.device:
    """The device of that name.

    Raises: ConfigError if there is none.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"teacher_device={name}: {str(error).splitlines()[0]}; expected cpu, cuda, cuda:1 …"
        ) from error
    return device
