"""The base class of teachers: anything that turns a batch into Outputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile, response_profile
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import CheckedArguments


@dataclass(frozen=True)
class TeacherContext:
    """The context from which a teacher of the catalogue is built in one phase of a run.

    student: the phase's network. data: the phase's, normalised for it. seed: the run's, plus the number of its
    repetition.
    """

    student: nn.Module | None
    task: Task
    data: DataModule
    seed: int


class Teacher(CheckedArguments, nn.Module):
    """Abstract: turns a batch into outputs without gradient, always in eval mode.

    Example:
        >>> import torch
        >>> from tutelage import Batch, Classification, Frozen, models
        >>> teacher = Frozen(models.create("cnn8", classes=10, channels=1).model, Classification())
        >>> batch = Batch(torch.randn(4, 1, 8, 8))
        >>> [stage.name for stage in teacher.profile(batch).stages]
        ['layer1', 'layer2', 'layer3']
    """

    follows_student: ClassVar[bool] = False
    """True if the teacher changes with the student in training."""

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    @classmethod
    def from_context(cls, context: TeacherContext) -> Teacher:
        """Make the teacher that `teacher={name: …, …options}` names; further keyword parameters are its options."""
        raise ConfigError(f"teacher={cls.__name__} can't be made from a configuration; make it in Python.")

    @abstractmethod
    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the teacher's outputs for a batch.

        Args:
            batch: the batch.
            layers: the layers whose features are returned with the response.
        """

    def respond(self, batch: Batch) -> Tensor:
        """Return the response by which the teacher is evaluated: here the one that it teaches."""
        return self(batch).response

    def profile(self, batch: Batch) -> ModelProfile:
        """Return the profile of the teacher on an example batch: here its response, without layers."""
        return response_profile(self(batch).response)

    def member_teachers(self) -> list[Teacher]:
        """Return the members of an ensemble; empty for a single teacher."""
        return []

    def identity(self) -> dict[str, Any] | None:
        """Return, as plain values, what determines the outputs besides the batch; None if training changes it."""
        return None

    def prepare_for(self, layers: Sequence[str], vectors: Sequence[str] = (), member_outputs: bool = False) -> None:
        """Prepare for training; called once before it.

        Args:
            layers: the layers whose features training requires.
            vectors: those of them that are only used averaged over positions.
            member_outputs: True if training also requires the outputs of each member of an ensemble.
        """

    def after_step(self) -> None:
        """Update the teacher after a step of the students."""

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the state that training changes, for the checkpoint."""
        return {}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the state that `checkpoint_state` returned."""

    def changes_in_training(self) -> bool:
        """Return True if training changes the teacher."""
        return _holds_any(self.checkpoint_state())

    def prefetch(self, batches: Generator[Batch], layers: Sequence[str] = ()) -> Generator[Batch]:
        """Yield the batches of an epoch; a prefetching teacher is run on later batches in the meantime."""
        return batches

    def train(self, mode: bool = True) -> Teacher:
        """Stay in eval mode: dropout off, batch statistics unchanged."""
        return super().train(False)


class TeacherWrapper(Teacher):
    """Abstract: forwards every method to another teacher; subclasses override what they change."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    @property
    def metadata(self) -> dict[str, Any]:
        """The wrapped teacher's metadata."""
        return getattr(self.teacher, "metadata", {})

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the wrapped teacher's outputs."""
        return self.teacher(batch, layers)

    def respond(self, batch: Batch) -> Tensor:
        """Return the response by which the wrapped teacher is evaluated."""
        return self.teacher.respond(batch)

    def profile(self, batch: Batch) -> ModelProfile:
        """Return the wrapped teacher's profile."""
        return self.teacher.profile(batch)

    def member_teachers(self) -> list[Teacher]:
        """Return the wrapped teacher's members."""
        return self.teacher.member_teachers()

    def identity(self) -> dict[str, Any] | None:
        """Return the wrapped teacher's identity."""
        return self.teacher.identity()

    def prepare_for(self, layers: Sequence[str], vectors: Sequence[str] = (), member_outputs: bool = False) -> None:
        """Prepare the wrapped teacher."""
        self.teacher.prepare_for(layers, vectors, member_outputs)

    def after_step(self) -> None:
        """Update the wrapped teacher."""
        self.teacher.after_step()

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the wrapped teacher's state."""
        return self.teacher.checkpoint_state()

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the wrapped teacher's state."""
        self.teacher.load_checkpoint_state(state)

    def changes_in_training(self) -> bool:
        """Return True if training changes the wrapped teacher."""
        return self.teacher.changes_in_training()

    def prefetch(self, batches: Generator[Batch], layers: Sequence[str] = ()) -> Generator[Batch]:
        """Yield the batches, which the wrapped teacher may read ahead."""
        return self.teacher.prefetch(batches, layers)


def _holds_any(state: Mapping[str, Any]) -> bool:
    return any(_holds_any(value) if isinstance(value, Mapping) else True for value in state.values())
