"""A student with a shared trunk and one head for each of several teachers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, unwrap
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs


class HydraPlayer(Player):
    """A student with one linear classifier (head) for each teacher, which `merge` averages into one.

    Its response is the mean of the heads' logits; its member outputs are the heads'. The network's own classifier isn't
    trained: it holds the mean of the heads' parameters, and since heads are linear, outputs the mean of their logits.
    Raises: ConfigError if there aren't several teachers, or if the network has no linear classifier.
    """

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Create the heads, and wire the terms to their outputs."""
        if teacher is None or not teacher.member_profiles:
            raise ConfigError("scheme=hydra needs several teachers, one for each head (teacher=[a, b]).")
        profile = profile_model(self.student.model, batch)
        self.classifier_name, at, _ = profile.embedding.partition(":in")
        if not at:
            raise ConfigError(
                "scheme=hydra: the student has no linear classifier, from which the heads are copied; use another "
                "student."
            )
        self.heads = nn.ModuleList(copy.deepcopy(self.classifier()) for _ in teacher.member_profiles)
        for head in self.heads:
            cast(nn.Linear, head).reset_parameters()
        self.classifier().requires_grad_(False)
        self.merge()
        response = self.task.response(profile_model(self.student.model, batch).response, batch)
        members = [profile.with_response(response) for _ in self.heads]
        self.terms.wire(replace(profile, response=response, member_profiles=members), teacher, batch, samples, provides)
        self.metadata = profile.metadata
        self.set_captured_layers([f"{self.classifier_name}:in"])

    def classifier(self) -> nn.Linear:
        """Return the network's own classifier."""
        return cast(nn.Linear, self.student.model.get_submodule(self.classifier_name))

    def forward_student(self, batch: Batch) -> Outputs:
        """Return the mean of the heads' logits, with each head's logits as a member."""
        student_outputs = self.student(batch.inputs)
        responses = [
            self.task.response(head(student_outputs[f"{self.classifier_name}:in"]), batch) for head in self.heads
        ]
        members = [Outputs(response) for response in responses]
        return Outputs(torch.stack(responses).mean(0), student_outputs.features, self.metadata, members)

    @torch.no_grad()
    def merge(self) -> None:
        """Set the network's own classifier to the mean of the heads."""
        for name, parameter in self.classifier().named_parameters():
            parameter.copy_(torch.stack([head.get_parameter(name) for head in self.heads]).mean(0))


class Hydra(Offline):
    """A student with a shared trunk and a head for each of several teachers; the export has the mean of the heads.

    Paper: Tran, Veeling, Roth, et al. 2020. arXiv:2001.04694, where heads may be deeper and are kept, and their
    probabilities are averaged; here heads are linear classifiers, so that the mean of their logits is one classifier.
    """

    @classmethod
    def from_context(cls, context: SchemeContext) -> Hydra:
        """Build the student and its teachers."""
        network = context.network()
        return cls(HydraPlayer(network, context.terms(), context.task), context.teacher(network))

    def after_step(self) -> None:
        """Update the student's own classifier to the mean of the heads."""
        unwrap(self.players["student"]).merge()
        super().after_step()
