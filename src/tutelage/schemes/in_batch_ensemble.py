"""A student whose targets mix its own outputs for similar samples of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from tutelage.nn.connectors import as_vector
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.schemes.two_views import require_embedding
from tutelage.structures import Batch, Outputs
from tutelage.utils.options import SmallCount


class InBatchEnsemble(SelfTaught):
    """Each sample is accompanied by others of its class; the student's embeddings determine which samples are similar.

    The terms get the `embedding` (B, D) of the batch in addition to the student's outputs.

    Args:
        others: the number of further samples of its class that accompany each sample.
    Paper: Ge, Choi, Zhang, Zhu, Zhao, Wang, Li. 2021. arXiv:2104.13298 (BAKE): three others of the class.
    """

    name = "batch_ensemble"
    provides = ("embedding",)

    def __init__(self, player: Player, others: SmallCount = 3) -> None:
        super().__init__(player, sampling="grouped", group_size=others)

    @classmethod
    def from_context(cls, context: SchemeContext, others: SmallCount = 3) -> InBatchEnsemble:
        """Build the student."""
        return cls(EmbeddingPlayer(context.network(), context.terms(), context.task), others)


class EmbeddingPlayer(Player):
    """A student whose embedding is an additional input of its terms."""

    embedding = ""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the embedding, and wire the terms."""
        profile = require_embedding(profile_model(self.student.model, batch))
        self.embedding = profile.embedding
        self.metadata = profile.metadata
        self.terms.wire(profile, None, batch, samples, provides)
        self.set_captured_layers([profile.embedding])

    def with_embedding(self, batch: Batch, feature: Tensor) -> Batch:
        """Return the batch with the feature, as vectors, in its extras."""
        return replace(batch, extras=batch.extras | {"embedding": as_vector(feature)})

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Run one forward, and return the weighted terms."""
        outputs = self.forward_student(batch)
        return self.compare(outputs, None, self.with_embedding(batch, outputs[self.embedding]))
