"""The base class of schemes in which a student and a discriminator take turns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn.feature_extractor import eval_no_grad
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import SchemeContext, Turn, unwrap
from tutelage.schemes.discriminator import BETAS, Discriminator, GameName
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.teachers.base import Teacher
from tutelage.utils.registry import catalogue_name


class Deceiver(Player):
    """A student that is judged by a discriminator; forward(batch, teacher_outputs) → its losses, and its images.

    Args:
        model, terms, task: as of a player.
        discriminator: the discriminator.
        weight: of the adversarial loss.
    """

    own_betas = BETAS

    def __init__(self, model: nn.Module, terms: Terms, task: Task, discriminator: Discriminator, weight: float) -> None:
        super().__init__(model, terms, task)
        self.discriminators = [discriminator]  # in a list, so that it isn't a submodule and isn't trained in this turn
        self.weight = weight
        self.own_settings: dict[str, Any] = {}

    def forward(  # type: ignore[override]
        self, batch: Batch, teacher_outputs: Outputs | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms and the adversarial loss, and the detached images."""
        student_outputs = self.forward_student(batch)
        made = student_outputs.response
        adversarial = {"adversarial": self.weight * self.discriminators[0].deceived(batch, made)}
        return self.compare(student_outputs, teacher_outputs, batch) | adversarial, made.detach()


class Adversarial(Offline):
    """Abstract: for each batch, the student learns from its terms and the discriminator, then the discriminator.

    Args:
        student: the student.
        teacher: the teacher, or None.
    """

    discriminator: ClassVar[type[Discriminator]] = Discriminator

    def __init__(self, student: Deceiver, teacher: Teacher | None = None) -> None:
        super().__init__(student, teacher)

    @classmethod
    def build(cls, context: SchemeContext, weight: float, loss: GameName, width: int, lr: float) -> Self:
        """Build the scheme for one phase of a run; of the optimisers, `auto` is AdamW.

        Raises: ConfigError if it isn't for this task, or the players would be sharded.
        """
        name = catalogue_name(cls)
        cls.refuse_task(context.task, name)
        if context.settings.sharded:
            raise ConfigError(f"scheme={name}: a discriminator can't be sharded over devices; use strategy=ddp.")
        network = context.network()
        teacher = context.teacher(network)
        terms = cls.terms_of(context, teacher)
        student = Deceiver(network, terms, context.task, cls.discriminator(loss, width, lr), weight)
        if context.settings.optimizer == "auto":
            student.own_settings = {"optimizer": "adamw", "dot": 0.0}
        return cls(student, teacher)

    @classmethod
    @abstractmethod
    def refuse_task(cls, task: Task, name: str) -> None:
        """Refuse a task that this scheme, of this name, isn't for.

        Raises: ConfigError.
        """

    @classmethod
    @abstractmethod
    def terms_of(cls, context: SchemeContext, teacher: Teacher | None) -> Terms:
        """Return what the student minimises beside the adversarial loss."""

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire the student, and size the discriminator."""
        super().wire(batch, samples)
        student: Deceiver = unwrap(self.players["student"])
        (discriminator,) = student.discriminators
        with eval_no_grad(student):
            discriminator.build(batch, student.forward_student(batch).response)
        self.players["discriminator"] = discriminator

    def real(self, batch: Batch, teacher_outputs: Outputs | None, made: Tensor) -> Tensor:
        """Return the images that the student's are to be taken for: the batch's; where unknown (NaN), the made."""
        assert batch.targets is not None
        return torch.where(batch.targets.isnan(), made, batch.targets)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the student's turn, then the discriminator's on the same images."""
        teacher_outputs = None if self.teacher is None else self.teacher(batch, self.layers)
        losses, made = self.players["student"](batch, teacher_outputs)
        yield "student", losses
        yield "discriminator", self.players["discriminator"](batch, self.real(batch, teacher_outputs, made), made)
