"""A student and a teacher that see two views of each sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, Turn
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher


class OtherView(Offline):
    """Each batch has two augmentations of each sample; the student learns from the teacher's outputs for the other one.

    L = terms(s(v₁), t(v₂)) + terms(s(v₂), t(v₁)), averaged. A moving average of the student that teaches so needs no
    labels: a connector on the student's side (embedding_cosine) is then the predictor that keeps both from collapsing.
    Paper: Grill, Strub, Altché, Tallec, Richemond and others. NeurIPS 2020. arXiv:2006.07733 (BYOL), whose projections
    and predictor are MLPs; Kato, Kamiya, Tamaki. 2024. arXiv:2408.15651 reads long videos once in the order of time.
    Raises: ConfigError without a teacher. A cached one has no outputs for two views.
    """

    name = "other_view"
    caches_teacher = False

    def __init__(self, students: Player | Mapping[str, Player], teacher: Teacher | None = None) -> None:
        super().__init__(students, teacher)
        if teacher is None:
            raise ConfigError("scheme=other_view needs a teacher: set teacher=…, such as moving_average.")
        self.batching = {"num_views": 2}

    @classmethod
    def from_context(cls, context: SchemeContext) -> OtherView:
        """Build the student and its teacher."""
        network = context.network()
        return cls(Player(network, context.terms(), context.task), context.teacher(network))

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the student's turn, with the teacher's outputs for the two views in each other's place."""
        assert self.teacher is not None
        outputs = swap_halves(self.teacher(batch, self.layers))
        for name, player in self.players.items():
            yield name, player(batch, outputs)


def swap_halves(outputs: Outputs) -> Outputs:
    """Return the outputs for the second half of the samples, then those for the first."""

    def swap(x: Tensor) -> Tensor:
        return x.roll(len(x) // 2, 0)

    features = {name: swap(x) for name, x in outputs.features.items()}
    return Outputs(swap(outputs.response), features, outputs.metadata, [swap_halves(x) for x in outputs.member_outputs])
