"""A student whose deepest outputs teach its shallow exits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError, unknown
from tutelage.nn.connectors import format_shape
from tutelage.nn.feature_extractor import FeatureExtractor, to_float32
from tutelage.nn.heads import BottleneckClassifier
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.nn.stages import LayerInfo
from tutelage.nn.token_grid import module_name
from tutelage.objective.pairing import layer_list
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms, request_unless_named
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import Layers


class MultiExit(SelfTaught):
    """Exits (classifiers on middle layers) learn from the labels and from the last classifier; they aren't exported.

    Terms without a teacher are summed over all exits and the model's own logits. Losses that take a list of the
    student's outputs get the logits of the shallow exits; feature losses get each exit's bottleneck, named exit0,
    exit1, …. Their teacher is the model's own logits and its deepest stage, detached.

    Args:
        layers: the layers that get an exit; "auto": the end of every stage except the last.
    Paper: Zhang, Song, Gao, Chen, Bao, Ma. ICCV 2019. arXiv:1905.08094 (BYOT).
    """

    name = "exits"

    @classmethod
    def from_context(cls, context: SchemeContext, layers: Layers = "auto") -> MultiExit:
        """Build the student."""
        return cls(MultiExitPlayer(context.network(), context.terms(), context.task, layer_list(layers)))


class MultiExitPlayer(Player):
    """A student with heads on middle layers; layers: these layers, or none to find them."""

    def __init__(self, model: nn.Module, terms: Terms, task: Task, layers: Sequence[str] = ()) -> None:
        super().__init__(model, terms, task)
        self.exits = list(layers)
        self.deepest = ""
        self.heads = nn.ModuleList()

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the layers, build the heads, and wire the terms to their features."""
        exits_profile, profile = self.profiles(batch)
        names = [f"exit{k}" for k in range(len(self.exits))]
        requests = request_unless_named(names, [self.deepest] * len(names))
        self.terms.wire(exits_profile, profile, batch, samples, provides, requests)
        model_layers = [layer for layer in self.terms.layers("student") if layer not in names]
        self.capture_exits([*model_layers, *self.terms.layers("teacher")])

    def profiles(self, batch: Batch) -> tuple[ModelProfile, ModelProfile]:
        """Build the exits; return the profile of the student with the exits as members, and of the student alone.

        Raises: as `build_heads`.
        """
        profile = profile_model(self.student.model, batch)
        outputs = self.build_heads(profile)
        exits_profile = with_exits(profile, {f"exit{k}": feature for k, (feature, _) in enumerate(outputs)})
        self.metadata = profile.metadata
        return replace(exits_profile, member_profiles=[profile.with_response(logits) for _, logits in outputs]), profile

    def capture_exits(self, layers: Sequence[str] = ()) -> None:
        """Capture the inputs of the exits, the deepest stage, and these layers."""
        self.student = FeatureExtractor(self.student.close(), (*self.exits, self.deepest, *layers))

    def build_heads(self, profile: ModelProfile) -> list[tuple[Tensor, Tensor]]:
        """Find the layers and build the heads; return each head's feature and logits for the example.

        Raises: ModelError if there is no layer to put an exit on; ConfigError if the student's logits have positions.
        """
        self._choose_layers(profile)
        if profile.response.dim() != 2:
            raise ConfigError(
                f"exits classify whole samples: expected one response per sample, got {format_shape(profile.response)}."
            )
        deep, features = profile.feature(self.deepest), [profile.feature(layer) for layer in self.exits]
        self.heads = nn.ModuleList(
            BottleneckClassifier(feature, deep, profile.response.shape[1]) for feature in features
        )
        with torch.no_grad():
            outputs = [head.eval()(feature) for head, feature in zip(self.heads, features, strict=True)]
        self.heads.train()
        return outputs

    def _choose_layers(self, profile: ModelProfile) -> None:
        stages, known = [stage.name for stage in profile.stages], [layer.name for layer in profile.layers]
        for layer in self.exits:
            if module_name(layer) not in known:
                raise ModelError(unknown("layer", layer, known))
        self.exits = self.exits or stages[:-1]
        if not self.exits:
            raise ModelError("no stage was found before the last; set the layers (scheme={name: exits, layers: […]}).")
        self.exits = [profile.name_with_form(layer, "map") for layer in self.exits]
        self.deepest = profile.name_with_form(stages[-1], "map") if stages else self.exits[-1]

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Run one forward of the student and its heads; return the weighted terms, taught by the deepest."""
        outputs = self.forward_student(batch)
        exits = [head(outputs[layer]) for head, layer in zip(self.heads, self.exits, strict=True)]
        teacher_outputs = outputs.detach()
        with torch.autocast(outputs.response.device.type, enabled=False):
            mask = self.task.stream_mask(batch)
            features = {f"exit{k}": to_float32(feature) for k, (feature, _) in enumerate(exits)}
            members = [Outputs(to_float32(logits), metadata=self.metadata) for _, logits in exits]
            supervised = sum_by_name(
                [self.terms.supervised_terms(x, teacher_outputs, batch, mask) for x in (outputs, *members)]
            )
            student_outputs = Outputs(outputs.response, outputs.features | features, self.metadata, members)
            return self.terms(student_outputs, teacher_outputs, batch, mask, supervised)


def sum_by_name(losses: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Sum the scalars of each name."""
    return {name: torch.stack([scalars[name] for scalars in losses]).sum() for name in losses[0]}


def with_exits(profile: ModelProfile, features: Mapping[str, Tensor]) -> ModelProfile:
    """Return a model's profile with the exits' features among its layers."""
    exits = [LayerInfo(name, "Head", tuple(x.shape[1:]), 1.0, is_series=x.dim() == 3) for name, x in features.items()]
    return replace(
        profile,
        layers=[*profile.layers, *exits],
        feature=lambda layer: features[layer] if layer in features else profile.feature(layer),
        is_series=lambda layer: features[layer].dim() == 3 if layer in features else profile.is_series(layer),
        is_trainable=lambda layer: True,  # the exits are trained with the student
    )
