"""A head for each of several teachers on one trunk."""

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
from tutelage.schemes.base import Scheme, SchemeContext, unwrap
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs


class HydraPlayer(Player):
    """A student with one linear classifier for each teacher, which `merge` makes one.

    What it says is the mean of the heads' logits; its members are the heads. Its own classifier is no part of training:
    it holds the mean of the heads, whose answer, since they are linear, is the mean of theirs.
    Raises: ConfigError if there aren't several teachers, or if the network has no linear classifier.
    """

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Make the heads, then choose layers as every player does."""
        if teacher is None or not teacher.members:
            raise ConfigError("scheme=hydra has a head for each teacher: name several (teacher=[a, b]).")
        profile = profile_model(self.student.model, batch)
        self.trunk, at, _ = profile.embedding.partition(":in")
        if not at:
            raise ConfigError("scheme=hydra: the student has no linear classifier that could become several heads.")
        self.heads = nn.ModuleList(copy.deepcopy(self.classifier()) for _ in teacher.members)
        for head in self.heads:
            cast(nn.Linear, head).reset_parameters()
        self.classifier().requires_grad_(False)
        self.merge()
        response = self.task.response(profile_model(self.student.model, batch).response, batch)
        members = [profile.with_response(response) for _ in self.heads]
        self.terms.wire(replace(profile, response=response, members=members), teacher, batch, samples, provides)
        self.metadata = profile.metadata
        self.set_captured_layers([f"{self.trunk}:in"])

    def classifier(self) -> nn.Linear:
        """The network's own."""
        return cast(nn.Linear, self.student.model.get_submodule(self.trunk))

    def forward_student(self, batch: Batch) -> Outputs:
        """The heads' mean, and what each one says."""
        student_outputs = self.student(batch.inputs)
        responses = [self.task.response(head(student_outputs[f"{self.trunk}:in"]), batch) for head in self.heads]
        members = [Outputs(response) for response in responses]
        return Outputs(torch.stack(responses).mean(0), student_outputs.features, self.metadata, members)

    @torch.no_grad()
    def merge(self) -> None:
        """Let the network's own classifier be the mean of the heads."""
        for name, parameter in self.classifier().named_parameters():
            parameter.copy_(torch.stack([head.get_parameter(name) for head in self.heads]).mean(0))


class Hydra(Offline, Scheme):  # the registry looks for Scheme by name
    """A student with a shared trunk and a head for each of several teachers; it ends with the mean of its heads.

    Paper: Tran, Veeling, Roth, et al. 2020. arXiv:2001.04694, where heads may be deeper and stay, and their
    probabilities are averaged; here they are linear classifiers, so that the mean of their logits is one classifier.
    """

    @classmethod
    def from_context(cls, parts: SchemeContext) -> Hydra:
        """The student and its teachers."""
        network = parts.network()
        return cls(HydraPlayer(network, parts.terms(), parts.task), parts.teacher(network))

    def after_step(self) -> None:
        """Keep the student's own classifier the mean of the heads."""
        unwrap(self.players["student"]).merge()
        super().after_step()
