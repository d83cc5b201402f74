"""A student whose losses get a middle feature beside its answer."""

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
from tutelage.utils.options import Layer


class IntermediateFeature(SelfTaught):
    """Losses that take a list of the student get [logits (B, C), middle feature (B, D)], averaged over positions.

    layer: the middle feature's; "auto" takes the stage before the last.
    Paper: Yang, Zeng, Li, Zhang, Yuan, Li. ICCV 2023. arXiv:2303.13005 (USKD).
    """

    name = "middle_feature"

    @classmethod
    def from_context(cls, parts: SchemeContext, layer: Layer = "auto") -> IntermediateFeature:
        """The student."""
        player = IntermediateFeaturePlayer(parts.network(), parts.terms(), parts.task)
        player.layer = layer
        return cls(player)


class IntermediateFeaturePlayer(Player):
    """Says its answer and a middle feature."""

    layer = "auto"
    form = "patches"

    def found(self, profile: ModelProfile) -> str:
        """The stage before the last.

        Raises: ModelError if there are fewer than two.
        """
        if len(profile.stages) < 2:
            raise ModelError("the student has no stage before its last; name the layer (scheme={name: …, layer: …}).")
        return profile.stages[-2].name

    def pooled(self, feature: Tensor) -> Tensor:
        """The feature as the losses get it, (B, D)."""
        return as_vector(feature)

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the layer, unless it is named."""
        profile = profile_model(self.student.model, batch)
        self.layer = profile.named(self.found(profile) if self.layer == "auto" else self.layer, self.form)
        self.metadata = profile.metadata
        outputs = (profile.response, self.pooled(profile.feature(self.layer)))
        profile = replace(profile, members=[profile.with_response(x) for x in outputs])
        self.terms.wire(profile, teacher, batch, samples, provides)
        self.set_captured_layers([self.layer])

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """The terms of one forward."""
        student_outputs = self.forward_student(batch)
        members = [Outputs(student_outputs.response), Outputs(self.pooled(student_outputs[self.layer]))]
        student_outputs = replace(student_outputs, members=members)
        return self.compare(student_outputs, teacher_outputs if isinstance(teacher_outputs, Outputs) else None, batch)
