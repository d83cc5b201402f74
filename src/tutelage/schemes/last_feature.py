"""A student whose losses get its last map beside its answer, and a teacher that is already there."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import ConfigError, ModelError
from tutelage.nn.connectors import as_map
from tutelage.nn.model_profile import ModelProfile
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.intermediate_feature import IntermediateFeaturePlayer
from tutelage.schemes.offline import Offline
from tutelage.utils.options import Layer


class LastFeature(Offline):
    """Losses that take a list of the student get [logits (B, C), feature (B, D)], of each channel its largest value.

    layer: the feature's; "auto" takes the last stage.
    Paper: Liu, Zhang, Wang. Neurocomputing 2020. arXiv:2103.04062 (AMTML-KD).
    Raises: ConfigError if other students are to learn beside the one.
    """

    name = "last_feature"

    @classmethod
    def from_context(cls, parts: SchemeContext, layer: Layer = "auto") -> LastFeature:
        """The student and its teacher."""
        network = parts.network()
        teacher = parts.teacher(network)
        if parts.extra_students():
            raise ConfigError("scheme=last_feature has one student: leave out students=.")
        player = LastFeaturePlayer(network, parts.terms(), parts.task)
        player.layer = layer
        return cls(player, teacher)


class LastFeaturePlayer(IntermediateFeaturePlayer):
    """Says its answer and its last map, pooled."""

    form = "map"

    def found(self, profile: ModelProfile) -> str:
        """The last stage.

        Raises: ModelError if there is none.
        """
        if not profile.stages:
            raise ModelError("the student has no stage; name the layer (scheme={name: last_feature, layer: …}).")
        return profile.stages[-1].name

    def pooled(self, feature: Tensor) -> Tensor:
        """The largest of each channel."""
        return feature if feature.dim() == 2 else as_map(feature).amax((2, 3))
