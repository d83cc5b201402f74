"""A student that is told what it says of the batch's similar samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from tutelage.nn.connectors import as_vector
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.schemes.two_views import embedded
from tutelage.structures import Batch, Outputs
from tutelage.utils.options import Few


class InBatchEnsemble(SelfTaught):
    """Each sample comes with several others of its class; the student's embeddings tell who is like whom.

    The terms get the `embedding` (B, D) of the batch beside what the student says of it.
    Paper: Ge, Choi, Zhang, Zhu, Zhao, Wang, Li. 2021. arXiv:2104.13298 (BAKE): three others of the class.
    """

    name = "batch_ensemble"
    provides = ("embedding",)

    def __init__(self, player: Player, others: Few = 3) -> None:
        super().__init__(player, order="grouped", each=others)

    @classmethod
    def from_context(cls, parts: SchemeContext, others: Few = 3) -> InBatchEnsemble:
        """The student; others: how many of its class come with each sample."""
        return cls(EmbeddingPlayer(parts.network(), parts.terms(), parts.task), others)


class EmbeddingPlayer(Player):
    """Its terms get its embedding."""

    embedding = ""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the embedding."""
        profile = embedded(profile_model(self.student.model, batch))
        self.embedding = profile.embedding
        self.metadata = profile.metadata
        self.terms.wire(profile, None, batch, samples, provides)
        self.set_captured_layers([profile.embedding])

    def with_embedding(self, batch: Batch, feature: Tensor) -> Batch:
        """The batch, with the feature as vectors for losses that ask."""
        return replace(batch, extras=batch.extras | {"embedding": as_vector(feature)})

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """The terms of one forward."""
        outputs = self.forward_student(batch)
        return self.compare(outputs, None, self.with_embedding(batch, outputs[self.embedding]))
