"""A student whose outputs for two views of each sample teach each other."""

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
    """Each batch has two augmentations of each sample; the student learns from both, and each teaches the other.

    Terms without a teacher get the logits of both views, (2B, C). The other terms get [logits, embedding] of the first
    view as the student's outputs and of the second as the teacher's, both with gradient.
    Paper: Xu, Liu. AAAI 2019 (DDGSD).
    """

    name = "two_views"

    def __init__(self, player: Player) -> None:
        super().__init__(player, num_views=2)

    @classmethod
    def from_context(cls, context: SchemeContext) -> TwoViews:
        """Build the student."""
        return cls(TwoViewPlayer(context.network(), context.terms(), context.task))


class TwoViewPlayer(Player):
    """A student whose batches are one view of the samples followed by another."""

    embedding = ""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the embedding, and wire the terms to [logits, embedding] on both sides."""
        profile = require_embedding(profile_model(self.student.model, batch))
        self.embedding = profile.embedding
        self.metadata = profile.metadata
        outputs = (profile.response, as_vector(profile.feature(profile.embedding)))
        profile = replace(profile, member_profiles=[profile.with_response(x) for x in outputs])
        self.terms.wire(profile, profile, batch, samples, provides)
        self.set_captured_layers([profile.embedding])

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Run one forward on both views, and return the weighted terms."""
        student_outputs = self.forward_student(batch)
        logits, vectors = student_outputs.response.chunk(2), as_vector(student_outputs[self.embedding]).chunk(2)
        views = [[Outputs(z), Outputs(v)] for z, v in zip(logits, vectors, strict=True)]
        student_outputs, teacher_outputs = (
            Outputs(student_outputs.response, student_outputs.features, self.metadata, view) for view in views
        )
        return self.compare(student_outputs, teacher_outputs, batch)


def require_embedding(profile: ModelProfile) -> ModelProfile:
    """Return the profile of a model that has an embedding.

    Raises: ModelError if the model has none.
    """
    if not profile.embedding:
        raise ModelError(
            "no embedding was found in the student: its logits aren't the output of a linear layer, and it has no "
            "stages; use another student."
        )
    return profile
