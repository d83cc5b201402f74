"""What a teacher is: anything that turns a batch into Outputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import Checked


@dataclass(frozen=True)
class TeacherContext:
    """What a teacher of the catalogue is made from in one phase of a run.

    student: the phase's network. data: the phase's, normalised for it. seed: the run's, plus the number of its
    repetition.
    """

    student: nn.Module | None
    task: Task
    data: DataModule
    seed: int


class Teacher(Checked, nn.Module):
    """Turns a batch into what it says of it; stays in eval mode, and what it says has no gradient."""

    follows_student: ClassVar[bool] = False
    """Whether it changes with the student in training."""

    @classmethod
    def from_context(cls, context: TeacherContext) -> Teacher:
        """Make the teacher that `teacher={name: …, …options}` names; further keyword parameters are its options."""
        raise ConfigError(f"teacher={cls.__name__} can't be made from a configuration; make it in Python.")

    @abstractmethod
    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """The response, and the features of those layers."""

    @abstractmethod
    def profile(self, batch: Batch) -> ModelProfile:
        """Its layers and stages on an example."""

    def teachers(self) -> list[Teacher]:
        """Those whose answers it joins; none, if it is one."""
        return []

    def identity(self) -> dict[str, Any] | None:
        """What its answers depend on beside the batch, as plain values; None if they change in training."""
        return None

    def prepare_for(self, layers: Sequence[str], vectors: Sequence[str] = (), members: bool = False) -> None:
        """Told once which layers training will ask for, and which of these only averaged over positions.

        members: whether it will also ask what each of several said.
        """

    def after_step(self) -> None:
        """Called when the students have made a step."""

    def checkpoint_state(self) -> dict[str, Any]:
        """What of it changes in training, for the checkpoint."""
        return {}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Take back what `checkpoint_state` gave."""

    def changes(self) -> bool:
        """Whether training changes it."""
        return _holds_any(self.checkpoint_state())

    def lookahead(self, batches: Generator[Batch], layers: Sequence[str] = ()) -> Generator[Batch]:
        """The batches of an epoch, before they are asked about; one that answers ahead does so meanwhile."""
        return batches

    def train(self, mode: bool = True) -> Teacher:
        """Stays in eval mode: dropout off, batch statistics untouched."""
        return super().train(False)


class TeacherWrapper(Teacher):
    """Abstract: another teacher, of which a subclass says otherwise what it changes; all else is that teacher's own."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    @property
    def metadata(self) -> dict[str, Any]:
        """The teacher's."""
        return getattr(self.teacher, "metadata", {})

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """What the teacher says."""
        return self.teacher(batch, layers)

    def profile(self, batch: Batch) -> ModelProfile:
        """The teacher's."""
        return self.teacher.profile(batch)

    def teachers(self) -> list[Teacher]:
        """Those of the teacher, if it is several."""
        return self.teacher.teachers()

    def identity(self) -> dict[str, Any] | None:
        """The teacher's."""
        return self.teacher.identity()

    def prepare_for(self, layers: Sequence[str], vectors: Sequence[str] = (), members: bool = False) -> None:
        """Tell the teacher."""
        self.teacher.prepare_for(layers, vectors, members)

    def after_step(self) -> None:
        """Tell the teacher."""
        self.teacher.after_step()

    def checkpoint_state(self) -> dict[str, Any]:
        """The teacher's."""
        return self.teacher.checkpoint_state()

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Give the teacher its state back."""
        self.teacher.load_checkpoint_state(state)

    def changes(self) -> bool:
        """Whether training changes the teacher."""
        return self.teacher.changes()

    def lookahead(self, batches: Generator[Batch], layers: Sequence[str] = ()) -> Generator[Batch]:
        """Let the teacher look ahead."""
        return self.teacher.lookahead(batches, layers)


def _holds_any(memory: Mapping[str, Any]) -> bool:
    return any(_holds_any(value) if isinstance(value, Mapping) else True for value in memory.values())
