"""What terms have of their own, trained before the student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.wiring import WiringRequest
from tutelage.schemes.base import Scheme, SchemeContext
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs


class LossPretraining(Offline, Scheme):  # the registry looks for Scheme by name
    """The terms' own parts (a paraphraser) learn from the teacher's features alone; the student waits, untouched.

    Terms get the teacher's layers on both sides. A later stage takes the parts over by `term_weights: stage:NAME`.
    """

    name = "without_student"

    @classmethod
    def from_context(cls, parts: SchemeContext) -> LossPretraining:
        """The student that waits, and the teacher."""
        network = parts.network()
        return cls(TeacherOnlyPlayer(network, parts.terms(truth=False), parts.task), parts.teacher(network))


class TeacherOnlyPlayer(Player):
    """Terms that hear the teacher in the student's place.

    Raises: ConfigError if there is no teacher, or nothing to train.
    """

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Wire the terms to the teacher on both sides."""
        if teacher is None:
            raise ConfigError("scheme=without_student learns from a teacher's features: name one (teacher=…).")
        self.terms.wire(teacher, teacher, batch, samples, provides, of_teacher)
        if not any(p.requires_grad for p in self.terms.parameters()):
            raise ConfigError(
                f"scheme=without_student: {', '.join(self.terms)} has no parts that could be trained; use a loss that "
                "has some, such as {name: ft, trains: paraphraser}."
            )

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Each term of what the teacher said."""
        assert isinstance(teacher_outputs, Outputs)
        return self.compare(teacher_outputs, teacher_outputs, batch)


def of_teacher(term: Term) -> WiringRequest:
    """Return the term's request, with its layers of the teacher on both sides."""
    layers = term.request.layers["teacher"]
    return replace(term.request, layers={"student": layers, "teacher": layers})
