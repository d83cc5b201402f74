"""Pretraining of the terms' own modules, before the student is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.wiring import WiringRequest
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs


class LossPretraining(Offline):
    """The terms' own modules (a paraphraser) learn from the teacher's features alone; the student isn't changed.

    Terms get the teacher's outputs on both sides. A later stage loads the modules with `term_weights: stage:NAME`.
    """

    name = "without_student"

    @classmethod
    def from_context(cls, context: SchemeContext) -> LossPretraining:
        """Build the student, which isn't trained, and the teacher."""
        network = context.network()
        return cls(
            TeacherOnlyPlayer(network, context.terms(add_task_loss=False), context.task), context.teacher(network)
        )


class TeacherOnlyPlayer(Player):
    """A player whose terms compare the teacher with itself; the student isn't run.

    Raises: ConfigError if there is no teacher, or nothing to train.
    """

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Wire the terms to the teacher on both sides."""
        if teacher is None:
            raise ConfigError(
                "scheme=without_student needs a teacher, from whose features the terms learn: set teacher=…."
            )
        self.terms.wire(teacher, teacher, batch, samples, provides, of_teacher)
        if not any(p.requires_grad for p in self.terms.parameters()):
            raise ConfigError(
                f"scheme=without_student: {', '.join(self.terms)} has no trainable modules; use a loss that has "
                "some, such as {name: ft, trains: paraphraser}."
            )

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Return the weighted terms of the teacher's outputs."""
        assert isinstance(teacher_outputs, Outputs)
        return self.compare(teacher_outputs, teacher_outputs, batch)


def of_teacher(term: Term) -> WiringRequest:
    """Return the term's request, with its layers of the teacher on both sides."""
    layers = term.request.layers["teacher"]
    return replace(term.request, layers={"student": layers, "teacher": layers})
