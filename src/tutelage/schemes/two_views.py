"""A student that says the same of two views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from tutelage.errors import ModelError
from tutelage.nn.connectors import as_vector
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs


class TwoViews(SelfTaught):
    """Each sample comes twice, augmented otherwise; the student learns from both views, and each from the other.

    Terms without a teacher see both views' answers, (2B, C). The others see [logits, embedding] of the one as the
    student's side and of the other as the teacher's, both with gradient.
    Paper: Xu, Liu. AAAI 2019 (DDGSD).
    """

    name = "two_views"

    def __init__(self, player: Player) -> None:
        super().__init__(player, copies=2)

    @classmethod
    def from_context(cls, parts: SchemeContext) -> TwoViews:
        """The student."""
        return cls(TwoViewPlayer(parts.network(), parts.terms(), parts.task))


class TwoViewPlayer(Player):
    """Its batches are one view of the samples, then another one."""

    embedding = ""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """The two sides are the halves of what it says."""
        profile = embedded(profile_model(self.student.model, batch))
        self.embedding = profile.embedding
        self.metadata = profile.metadata
        outputs = (profile.response, as_vector(profile.feature(profile.embedding)))
        profile = replace(profile, members=[profile.with_response(x) for x in outputs])
        self.terms.wire(profile, profile, batch, samples, provides)
        self.set_captured_layers([profile.embedding])

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """One forward of both views."""
        student_outputs = self.forward_student(batch)
        logits, vectors = student_outputs.response.chunk(2), as_vector(student_outputs[self.embedding]).chunk(2)
        views = [[Outputs(z), Outputs(v)] for z, v in zip(logits, vectors, strict=True)]
        student_outputs, teacher_outputs = (
            Outputs(student_outputs.response, student_outputs.features, self.metadata, view) for view in views
        )
        return self.compare(student_outputs, teacher_outputs, batch)


def embedded(profile: ModelProfile) -> ModelProfile:
    """The same; refuses a model without an embedding."""
    if not profile.embedding:
        raise ModelError(
            "no embedding was found in the student: no linear layer makes its answer, and it has no stages."
        )
    return profile
