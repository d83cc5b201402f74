"""A student whose depths teach its shallow exits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError, unknown
from tutelage.nn.connectors import shape_of
from tutelage.nn.feature_extractor import FeatureExtractor, to_float32
from tutelage.nn.heads import Head
from tutelage.nn.model_profile import LayerInfo, ModelProfile, profile_model
from tutelage.nn.token_grid import module_of
from tutelage.objective.pairing import layer_list
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms, unless_named
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import Layers


class MultiExit(SelfTaught):
    """Classifiers on middle layers learn from the truth and from the last one; in the end they are left out.

    Terms without a teacher are added up over all exits, the last one's among them. Losses that take a list of the
    student get the shallow exits' answers, those of features each exit's bottleneck, called exit0, exit1, …; their
    teacher is the model's own answer and its deepest stage, without gradient.
    layers: where the exits are; "auto" takes the end of every stage but the last.
    Paper: Zhang, Song, Gao, Chen, Bao, Ma. ICCV 2019. arXiv:1905.08094 (BYOT).
    """

    name = "exits"

    @classmethod
    def from_context(cls, parts: SchemeContext, layers: Layers = "auto") -> MultiExit:
        """The student."""
        return cls(MultiExitPlayer(parts.network(), parts.terms(), parts.task, layer_list(layers)))


class MultiExitPlayer(Player):
    """A student with heads on middle layers; layers: none to find them."""

    def __init__(self, model: nn.Module, terms: Terms, task: Task, layers: Sequence[str] = ()) -> None:
        super().__init__(model, terms, task)
        self.exits = list(layers)
        self.deepest = ""
        self.heads = nn.ModuleList()

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the layers, make the heads, and wire the terms to their features."""
        ours, profile = self.profiles(batch)
        names = [f"exit{k}" for k in range(len(self.exits))]
        requests = unless_named(names, [self.deepest] * len(names))
        self.terms.wire(ours, profile, batch, samples, provides, requests)
        own = [layer for layer in self.terms.layers("student") if layer not in names]
        self.tap_exits([*own, *self.terms.layers("teacher")])

    def profiles(self, batch: Batch) -> tuple[ModelProfile, ModelProfile]:
        """The student with its exits, which are made, as members, and by itself.

        Raises: as `grow`.
        """
        profile = profile_model(self.student.model, batch)
        outputs = self.grow(profile)
        ours = with_exits(profile, {f"exit{k}": feature for k, (feature, _) in enumerate(outputs)})
        self.metadata = profile.metadata
        return replace(ours, members=[profile.with_response(logits) for _, logits in outputs]), profile

    def tap_exits(self, layers: Sequence[str] = ()) -> None:
        """Capture what the exits and the deepest read, and these layers."""
        self.student = FeatureExtractor(self.student.close(), (*self.exits, self.deepest, *layers))

    def grow(self, profile: ModelProfile) -> list[tuple[Tensor, Tensor]]:
        """Find the layers and make the heads; what these say of the example.

        Raises: ModelError if there is no layer to put an exit on; ConfigError if the student answers by position.
        """
        self._find(profile)
        if profile.response.dim() != 2:
            raise ConfigError(f"exits classify whole samples, but the answer is {shape_of(profile.response)}.")
        deep, features = profile.feature(self.deepest), [profile.feature(layer) for layer in self.exits]
        self.heads = nn.ModuleList(Head(feature, deep, profile.response.shape[1]) for feature in features)
        with torch.no_grad():
            outputs = [head.eval()(feature) for head, feature in zip(self.heads, features, strict=True)]
        self.heads.train()
        return outputs

    def _find(self, profile: ModelProfile) -> None:
        stages, known = [stage.name for stage in profile.stages], [layer.name for layer in profile.layers]
        for layer in self.exits:
            if module_of(layer) not in known:
                raise ModelError(unknown("layer", layer, known))
        self.exits = self.exits or stages[:-1]
        if not self.exits:
            raise ModelError("no stage was found before the last; name layers (scheme={name: exits, layers: […]}).")
        self.exits = [profile.named(layer, "map") for layer in self.exits]
        self.deepest = profile.named(stages[-1], "map") if stages else self.exits[-1]

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """One forward of the student and its heads; each exit's truth, and the deepest as the teacher of all."""
        outputs = self.forward_student(batch)
        exits = [head(outputs[layer]) for head, layer in zip(self.heads, self.exits, strict=True)]
        teacher_outputs = outputs.detach()
        with torch.autocast(outputs.response.device.type, enabled=False):
            mask = self.task.mask(batch)
            features = {f"exit{k}": to_float32(feature) for k, (feature, _) in enumerate(exits)}
            members = [Outputs(to_float32(logits), metadata=self.metadata) for _, logits in exits]
            truths = added(
                [self.terms.supervised_terms(one, teacher_outputs, batch, mask) for one in (outputs, *members)]
            )
            ours = Outputs(outputs.response, outputs.features | features, self.metadata, members)
            return self.terms(ours, teacher_outputs, batch, mask, truths)


def added(losses: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Several scalars a name, added up."""
    return {name: torch.stack([one[name] for one in losses]).sum() for name in losses[0]}


def with_exits(profile: ModelProfile, features: Mapping[str, Tensor]) -> ModelProfile:
    """Return a model's profile with the exits' features among its layers."""
    exits = [LayerInfo(name, "Head", tuple(x.shape[1:]), 1.0) for name, x in features.items()]
    return replace(
        profile,
        layers=[*profile.layers, *exits],
        feature=lambda layer: features[layer] if layer in features else profile.feature(layer),
        learns=lambda layer: True,  # the exits are trained with the student
    )
