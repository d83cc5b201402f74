"""A student whose losses get a middle feature in addition to its logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.nn.connectors import as_vector
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import Layer


class IntermediateFeature(SelfTaught):
    """Losses that take a list of the student's outputs get [logits (B, C), middle feature (B, D)], position-averaged.

    Args:
        layer: the layer of the middle feature; "auto": the stage before the last.
    Paper: Yang, Zeng, Li, Zhang, Yuan, Li. ICCV 2023. arXiv:2303.13005 (USKD).
    """

    name = "middle_feature"

    @classmethod
    def from_context(cls, context: SchemeContext, layer: Layer = "auto") -> IntermediateFeature:
        """Build the student."""
        return cls(IntermediateFeaturePlayer(context.network(), context.terms(), context.task, layer))


class IntermediateFeaturePlayer(Player):
    """A student whose member outputs are its logits and a middle feature; layer: where it is, "auto" or a name."""

    token_form = "patches"

    def __init__(self, model: nn.Module, terms: Terms, task: Task, layer: str = "auto") -> None:
        super().__init__(model, terms, task)
        self.layer = layer

    def default_layer(self, profile: ModelProfile) -> str:
        """Return the stage before the last.

        Raises: ModelError if there are fewer than two.
        """
        if len(profile.stages) < 2:
            raise ModelError("the student has no stage before its last; set the layer (scheme={name: …, layer: …}).")
        return profile.stages[-2].name

    def pooled(self, feature: Tensor) -> Tensor:
        """Return the feature averaged over positions, (B, D)."""
        return as_vector(feature)

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the layer, unless one is set, and wire the terms."""
        profile = profile_model(self.student.model, batch)
        self.layer = profile.name_with_form(
            self.default_layer(profile) if self.layer == "auto" else self.layer, self.token_form
        )
        self.metadata = profile.metadata
        outputs = (profile.response, self.pooled(profile.feature(self.layer)))
        profile = replace(profile, member_profiles=[profile.with_response(x) for x in outputs])
        self.terms.wire(profile, teacher, batch, samples, provides)
        self.set_captured_layers([self.layer])

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Run one forward, and return the weighted terms."""
        student_outputs = self.forward_student(batch)
        members = [Outputs(student_outputs.response), Outputs(self.pooled(student_outputs[self.layer]))]
        student_outputs = replace(student_outputs, member_outputs=members)
        return self.compare(student_outputs, teacher_outputs if isinstance(teacher_outputs, Outputs) else None, batch)
