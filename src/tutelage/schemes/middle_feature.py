"""A student whose losses get a middle feature beside its answer."""

from __future__ import annotations

from torch import Tensor

from tutelage.connectors import as_vector
from tutelage.errors import ModelError
from tutelage.layers import Look
from tutelage.options import Layer
from tutelage.player import Player
from tutelage.schemes.base import Parts, SelfTaught
from tutelage.values import Batch, Outputs


class MiddleFeature(SelfTaught):
    """Losses that take a list of the student get [logits (B, C), middle feature (B, D)], averaged over positions.

    layer: the middle feature's; "auto" takes the stage before the last.
    Paper: Yang, Zeng, Li, Zhang, Yuan, Li. ICCV 2023. arXiv:2303.13005 (USKD).
    """

    name = "middle_feature"

    @classmethod
    def of(cls, parts: Parts, layer: Layer = "auto") -> MiddleFeature:
        """The student."""
        player = WithMiddle(parts.network(), parts.terms(), parts.task)
        player.layer = layer
        return cls(player)


class WithMiddle(Player):
    """Says its answer and a middle feature."""

    layer = "auto"

    def wire(self, teacher: Look | None, batch: Batch, samples: int) -> None:
        """Find the layer.

        Raises: ModelError if it is to be found and there are fewer than two stages.
        """
        look = Look(self.student.model, batch)
        if self.layer == "auto" and len(look.stages) < 2:
            raise ModelError("the student has no stage before its last; name the layer (scheme={name: …, layer: …}).")
        self.layer = look.stages[-2].name if self.layer == "auto" else self.layer
        self.facts = look.facts
        look.members = [look.answer(look.response), look.answer(as_vector(look.feature(self.layer)))]
        self.terms.wire(look, None, batch, samples)
        self.tap([self.layer])

    def forward(self, batch: Batch, told: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """The terms of one forward."""
        said = self.say(batch)
        said.members = [Outputs(said.response), Outputs(as_vector(said[self.layer]))]
        return self.compare(said, None, batch)
