"""The player of students that learn from their joint outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tutelage.nn.connectors import as_vector
from tutelage.nn.feature_extractor import FeatureExtractor, eval_no_grad
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.nn.shared_trunk import Branches
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.objective.wiring import WiringRequest
from tutelage.policies.schedule.ramp import Ramp
from tutelage.schemes.peer_ensembles import PeerEnsemble
from tutelage.schemes.two_views import require_embedding
from tutelage.structures import Batch, Inputs, Outputs
from tutelage.tasks.base import Task


class CollaborativePlayer(nn.Module):
    """Students and their ensemble, with one optimiser.

    forward(batch, inputs, teacher_outputs) → {term: weighted scalar}. A term whose loss takes a list compares the whole
    group: the ensemble's outputs, or, if the loss compares embeddings, the input of each student's classifier. Every
    other term compares each student separately with that student's teachers, and is named "peer/term".

    Args:
        networks: the students by name.
        terms: the terms of the method.
        task: the task of the run.
        ensemble: how the students' outputs are combined; None: PeerEnsemble.
        split: the layer from which on the students share no layer; None: they share nothing.
        gradient: the factor of the gradient where the branches meet.
        rise: the number of epochs over which the weight of the mutual teaching rises, as exp(−5(1 − t)²). Group losses
            get it as `mutual_ramp`, terms of single students are multiplied by it.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        terms: Terms,
        task: Task,
        ensemble: PeerEnsemble | None = None,
        split: str | None = None,
        gradient: float = 1.0,
        rise: float = 0.0,
    ) -> None:
        super().__init__()
        self.branches = Branches(networks, gradient)
        self.task, self.split = task, split
        self.ensemble = ensemble or PeerEnsemble()
        list_terms = {name: term for name, term in terms.named_terms().items() if term.loss.list_inputs}
        self.group_terms = Terms({name: term for name, term in list_terms.items() if term.loss.compares != "embedding"})
        self.embedding_terms = Terms(
            {name: term for name, term in list_terms.items() if term.loss.compares == "embedding"}
        )
        self.peer_terms = Terms({name: term for name, term in terms.named_terms().items() if not term.loss.list_inputs})
        self.initial_state = terms.initial_state
        self.rise = Ramp(epochs=rise, shape="sigmoid")

    def wire(self, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Split the networks, and size the ensemble and the terms from one example."""
        first = next(iter(self.students().values())).model
        profile = profile_model(first, batch)
        if self.split is not None:
            self.branches.share_trunk(profile.inputs, self.split)
        layers = self.ensemble.layers(profile)
        self.embedding = require_embedding(profile).embedding if self.embedding_terms else ""
        self.branches.set_captured_layers([*layers, *([self.embedding] if self.embedding_terms else [])])
        example = replace(batch, inputs=profile.inputs)
        with eval_no_grad(self):
            outputs = self.forward_student(example)
        self.ensemble.build(outputs, self.branches.split, layers)
        self.ensemble.to(outputs[0].response)
        with eval_no_grad(self):
            group_outputs, group_teacher = self.ensemble.group_comparison(outputs)
            comparisons = self.ensemble.peer_comparisons(dict(zip(self.students(), outputs, strict=True)), None)
        group_profile = profile_with_outputs(profile, group_outputs)
        teacher_profile = None if group_teacher is None else profile_with_outputs(profile, group_teacher)
        self.group_terms.wire(group_profile, teacher_profile, batch, samples, provides)
        if self.embedding_terms:
            embeddings = profile_with_outputs(profile, self.embeddings(outputs))
            self.embedding_terms.wire(embeddings, None, batch, samples, provides, as_responses)
        for student_outputs, teacher_outputs in list(comparisons.values())[:1]:
            student, teacher = (profile_with_outputs(profile, x) for x in (student_outputs, teacher_outputs[0]))
            self.peer_terms.wire(student, teacher, batch, samples, provides)
        self.method_terms().load_initial_state()

    def method_terms(self) -> Terms:
        """Return the terms of the method, by its names."""
        return Terms(self.list_terms().named_terms() | self.peer_terms.named_terms(), self.initial_state)

    def list_terms(self) -> Terms:
        """Return the terms of the whole group."""
        return Terms(self.group_terms.named_terms() | self.embedding_terms.named_terms())

    def forward_student(self, batch: Batch, inputs: list[Inputs] | None = None) -> list[Outputs]:
        """Return each student's outputs."""
        return branch_outputs(self.branches, self.task, batch, inputs)

    def forward(
        self, batch: Batch, inputs: list[Inputs] | None = None, teacher_outputs: list[Outputs] | None = None
    ) -> dict[str, Tensor]:
        """Compute the weighted scalar of each term.

        Args:
            batch: the training batch.
            inputs: one input per student; None: the batch's input for all.
            teacher_outputs: the outputs of each student's moving average, if there are averages.
        """
        outputs = self.forward_student(batch, inputs)
        ramp = self.rise.at(batch.epoch)
        with torch.autocast(outputs[0].response.device.type, enabled=False):
            mask = self.task.stream_mask(batch)
            ramped = replace(batch, extras=batch.extras | {"mutual_ramp": ramp})
            group = self.ensemble.group_comparison(outputs)
            losses = self.group_terms(*group, ramped, mask) if self.group_terms else {}
            if self.embedding_terms:
                losses |= self.embedding_terms(self.embeddings(outputs), None, batch, mask)
            if not self.peer_terms:
                return losses
            student_outputs = dict(zip(self.students(), outputs, strict=True))
            comparisons = self.ensemble.peer_comparisons(student_outputs, teacher_outputs)
            for name, (student, teachers) in comparisons.items():
                peer_losses = self._peer_losses(student, teachers, batch, mask, ramp)
                losses |= {f"{name}/{key}": value for key, value in peer_losses.items()}
        return losses

    def _peer_losses(
        self, outputs: Outputs, teachers: list[Outputs], batch: Batch, mask: Tensor | None, ramp: float
    ) -> dict[str, Tensor]:
        """Return the terms of one student, each its mean over the student's teachers."""
        losses = [self.peer_terms(outputs, teacher_outputs, batch, mask) for teacher_outputs in teachers]
        factors = {
            name: ramp if term.loss.needs_teacher else 1.0 for name, term in self.peer_terms.named_terms().items()
        }
        return {name: factor * torch.stack([x[name] for x in losses]).mean() for name, factor in factors.items()}

    def embeddings(self, outputs: list[Outputs]) -> Outputs:
        """Return the group's outputs, in which the input of each student's classifier replaces its logits."""
        return Outputs(outputs[0].response, member_outputs=[Outputs(as_vector(x[self.embedding])) for x in outputs])

    def optimised_modules(self) -> dict[str, nn.Module]:
        """Return the whole player, which has one optimiser."""
        return {"": self}

    def device(self) -> torch.device:
        """Return the device of the parameters."""
        return next(self.parameters()).device

    def students(self) -> dict[str, FeatureExtractor]:
        """Return each student as a complete network, by name."""
        return self.branches.extractors()


def branch_outputs(branches: nn.Module, task: Task, batch: Batch, inputs: list[Inputs] | None = None) -> list[Outputs]:
    """Return the outputs of several networks for a batch, or for each network's own view of it."""
    outputs: list[Outputs] = branches(batch.inputs if inputs is None else inputs)
    return [Outputs(task.response(x.response, batch), x.features) for x in outputs]


def profile_with_outputs(profile: ModelProfile, outputs: Outputs) -> ModelProfile:
    """Return the profile of a network with these outputs."""
    members = [profile.with_response(member.response) for member in outputs.member_outputs]
    return replace(profile, response=outputs.response, metadata=outputs.metadata, member_profiles=members)


def as_responses(term: Term) -> WiringRequest:
    """Let a term of embeddings compare responses, whose place they take."""
    return replace(term.request, compares="response")
