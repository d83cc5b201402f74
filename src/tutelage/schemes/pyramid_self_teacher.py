"""A student taught by a feature pyramid on its own stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError, unknown
from tutelage.nn.connectors import format_shape
from tutelage.nn.feature_extractor import to_float32
from tutelage.nn.feature_pyramid import FeaturePyramid
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.nn.stages import LayerInfo
from tutelage.nn.token_grid import module_name
from tutelage.objective.pairing import layer_list
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.schemes.multi_exit import sum_by_name
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import CheckedArguments, Layers, SmallCount


class PyramidSelfTeacher(SelfTaught):
    """A pyramid refines the student's stages, classifies, and teaches the student; it isn't exported.

    Terms without a teacher are summed over the student and the pyramid, whose gradient flows into the student. For the
    other terms the teacher's outputs are the pyramid's, detached: its logits and refined0, refined1, …

    Args:
        layers: the layers to refine, from shallow to deep; "auto": the end of every stage.
        width: the channels of a refined stage as a multiple of the stage's own.
        depth: the number of convolutions where levels of the pyramid meet.
    Paper: Ji, Shin, Hwang, Park, Moon. CVPR 2021. arXiv:2103.08273 (FRSKD).
    """

    name = "self_teacher"

    @classmethod
    def from_context(
        cls, context: SchemeContext, layers: Layers = "auto", width: SmallCount = 2, depth: SmallCount = 2
    ) -> PyramidSelfTeacher:
        """Build the student."""
        return cls(PyramidPlayer(context.network(), context.terms(), context.task, layer_list(layers), width, depth))


class PyramidPlayer(CheckedArguments, Player):
    """A student with a pyramid on some layers; layers: these layers, or none to find them.

    Raises: ConfigError if width or depth isn't a whole number above 0.
    """

    def __init__(
        self,
        model: nn.Module,
        terms: Terms,
        task: Task,
        layers: Sequence[str] = (),
        width: SmallCount = 2,
        depth: SmallCount = 2,
    ) -> None:
        super().__init__(model, terms, task)
        self.layers, self.width, self.depth = list(layers), width, depth

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the layers, build the pyramid, and wire the terms to its outputs.

        Raises: ModelError if there are fewer than two layers to refine; ConfigError if the student's logits have
        positions, or a layer is neither a map nor tokens of a known grid.
        """
        profile = profile_model(self.student.model, batch)
        if profile.response.dim() != 2:
            raise ConfigError(
                f"scheme=self_teacher: the student's response is {format_shape(profile.response)}, expected one per "
                "sample."
            )
        profile = self._choose_layers(profile)
        features = [profile.feature(layer) for layer in self.layers]
        self.pyramid = FeaturePyramid(features, profile.response.shape[1], self.width, self.depth)
        with torch.no_grad():
            refined, logits = self.pyramid.eval()(features)
        self.pyramid.train()
        self.metadata = profile.metadata
        self.terms.wire(profile, refined_profile(profile, refined, logits), batch, samples, provides)
        self.set_captured_layers(self.layers)

    def _choose_layers(self, profile: ModelProfile) -> ModelProfile:
        """Find the layers; return the profile with them as its stages."""
        known = {layer.name: layer for layer in profile.layers}
        for layer in self.layers:
            if module_name(layer) not in known:
                raise ModelError(unknown("layer", layer, known))
        stages = [known[module_name(layer)] for layer in self.layers] or profile.stages
        self.layers = [
            profile.name_with_form(layer, "map") for layer in self.layers or [stage.name for stage in stages]
        ]
        if len(self.layers) < 2:
            raise ModelError(
                f"scheme=self_teacher refines at least two stages, got {', '.join(self.layers) or 'none'}; set the "
                "layers (scheme={name: self_teacher, layers: […]}; `tutelage layers MODEL` lists them)."
            )
        return replace(profile, stages=stages)

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Run one forward of the student and its pyramid, and return the weighted terms."""
        student_outputs = self.forward_student(batch)
        refined, logits = self.pyramid([student_outputs[layer] for layer in self.layers])
        with torch.autocast(logits.device.type, enabled=False):
            mask = self.task.stream_mask(batch)
            pyramid_outputs = Outputs(to_float32(logits), {f"refined{k}": to_float32(x) for k, x in enumerate(refined)})
            teacher_outputs = pyramid_outputs.detach()
            supervised = sum_by_name(
                [
                    self.terms.supervised_terms(x, teacher_outputs, batch, mask)
                    for x in (student_outputs, pyramid_outputs)
                ]
            )
            return self.terms(student_outputs, teacher_outputs, batch, mask, supervised)


def refined_profile(profile: ModelProfile, refined: Sequence[Tensor], response: Tensor) -> ModelProfile:
    """Return the profile of a pyramid on a model: its stages are the model's, refined."""
    features = {f"refined{k}": x for k, x in enumerate(refined)}
    stages = [
        LayerInfo(name, "Pyramid", tuple(x.shape[1:]), stage.depth, stage=k, is_series=x.dim() == 3)
        for k, (stage, (name, x)) in enumerate(zip(profile.stages, features.items(), strict=True))
    ]

    def feature(layer: str) -> Tensor:
        if layer not in features:
            raise ModelError(unknown("layer of the self-teacher", layer, features))
        return features[layer]

    return replace(
        profile,
        response=response,
        layers=stages,
        stages=stages,
        embedding=stages[-1].name,
        metadata={},
        feature=feature,
        is_series=lambda layer: feature(layer).dim() == 3,
        is_trainable=lambda layer: True,  # the pyramid is trained with the student
        member_profiles=(),
    )
