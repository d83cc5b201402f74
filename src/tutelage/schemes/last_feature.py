"""A student whose losses get its last map in addition to its logits, with an existing teacher."""

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
    """Losses that take a list of the student's outputs get [logits (B, C), feature (B, D)], max-pooled over positions.

    Args:
        layer: the layer of the feature; "auto": the last stage.
    Paper: Liu, Zhang, Wang. Neurocomputing 2020. arXiv:2103.04062 (AMTML-KD).
    Raises: ConfigError if the configuration has additional students.
    """

    name = "last_feature"

    @classmethod
    def from_context(cls, context: SchemeContext, layer: Layer = "auto") -> LastFeature:
        """Build the student and its teacher."""
        network = context.network()
        teacher = context.teacher(network)
        if context.extra_students():
            raise ConfigError("scheme=last_feature has one student: remove students=.")
        return cls(LastFeaturePlayer(network, context.terms(), context.task, layer), teacher)


class LastFeaturePlayer(IntermediateFeaturePlayer):
    """A student whose member outputs are its logits and its last map, max-pooled."""

    token_form = "map"

    def default_layer(self, profile: ModelProfile) -> str:
        """Return the last stage.

        Raises: ModelError if there is none.
        """
        if not profile.stages:
            raise ModelError("the student has no stage; set the layer (scheme={name: last_feature, layer: …}).")
        return profile.stages[-1].name

    def pooled(self, feature: Tensor) -> Tensor:
        """Return the maximum of each channel over positions, (B, D)."""
        return feature if feature.dim() == 2 else as_map(feature).flatten(2).amax(2)
