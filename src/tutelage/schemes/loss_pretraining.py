"""What terms have of their own, trained before the student."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs


class LossPretraining(Offline):
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

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int) -> None:
        """Wire the terms to the teacher on both sides."""
        if teacher is None:
            raise ConfigError("scheme=without_student learns from a teacher's features: name one (teacher=…).")
        for term in self.terms.named().values():
            term.requested_layers["student"] = term.requested_layers["teacher"]
        self.terms.wire(teacher, teacher, batch, samples)
        if not any(p.requires_grad for p in self.terms.parameters()):
            raise ConfigError(
                f"scheme=without_student: {', '.join(self.terms)} has no parts that could be trained; use a loss that "
                "has some, such as {name: ft, trains: paraphraser}."
            )

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Each term of what the teacher said."""
        assert isinstance(teacher_outputs, Outputs)
        return self.compare(teacher_outputs, teacher_outputs, batch)
