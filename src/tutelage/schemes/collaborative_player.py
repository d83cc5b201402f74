"""What an optimiser trains when students learn from what they say together."""

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
from tutelage.schemes.two_views import embedded
from tutelage.structures import Batch, Inputs, Outputs
from tutelage.tasks.base import Task


class CollaborativePlayer(nn.Module):
    """Students and what speaks for them all, with one optimiser.

    forward(batch, inputs, told) → {term: weighted scalar}. Terms whose loss takes a list see the whole group: what
    speaks for it, or, if they compare embeddings, what enters each classifier. Each of the others sees every student by
    itself, against what teaches that one, as "peer/term". split: where the students
    part; None: they share nothing. rise: epochs over which what they teach each other gains its weight, as
    exp(−5(1 − t)²). inputs: each student's own, if they aren't the batch's; told: what each one's moving average says.
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
        joint = {name: term for name, term in terms.named().items() if term.loss.list_inputs}
        self.together = Terms({name: term for name, term in joint.items() if term.loss.compares != "embedding"})
        self.embedded = Terms({name: term for name, term in joint.items() if term.loss.compares == "embedding"})
        self.each = Terms({name: term for name, term in terms.named().items() if not term.loss.list_inputs})
        self.rise = Ramp(epochs=rise, shape="sigmoid")
        self.full = {name: getattr(t.loss, self.ensemble.rises, 1.0) for name, t in self.together.named().items()}

    def wire(self, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Part the networks, and size the ensemble and the terms from one example."""
        first = next(iter(self.students().values())).model
        profile = profile_model(first, batch)
        if self.split is not None:
            self.branches.share(profile.inputs, self.split)
        layers = self.ensemble.layers(profile)
        self.embedding = embedded(profile).embedding if self.embedded else ""
        self.branches.set_captured_layers([*layers, *([self.embedding] if self.embedded else [])])
        example = replace(batch, inputs=profile.inputs)
        with eval_no_grad(self):
            outputs = self.forward_student(example)
        self.ensemble.build(outputs, self.branches.split, layers)
        self.ensemble.to(outputs[0].response)
        with eval_no_grad(self):
            ours, theirs = self.ensemble.lead(outputs)
            pairs = self.ensemble.pairs(dict(zip(self.students(), outputs, strict=True)), None)
        lead = None if theirs is None else profile_with_outputs(profile, theirs)
        self.together.wire(profile_with_outputs(profile, ours), lead, batch, samples, provides)
        if self.embedded:
            embeddings = profile_with_outputs(profile, self.embeddings(outputs))
            self.embedded.wire(embeddings, None, batch, samples, provides, as_responses)
        for one, others in list(pairs.values())[:1]:
            student, teacher = (profile_with_outputs(profile, side) for side in (one, others[0]))
            self.each.wire(student, teacher, batch, samples, provides)

    def forward_student(self, batch: Batch, inputs: list[Inputs] | None = None) -> list[Outputs]:
        """What each student says."""
        return group_outputs(self.branches, self.task, batch, inputs)

    def forward(
        self, batch: Batch, inputs: list[Inputs] | None = None, teacher_outputs: list[Outputs] | None = None
    ) -> dict[str, Tensor]:
        """Each term's weighted scalar."""
        outputs = self.forward_student(batch, inputs)
        share = self.rise.at(batch.epoch)
        with torch.autocast(outputs[0].response.device.type, enabled=False):
            mask = self.task.mask(batch)
            for name, term in self.together.named().items():
                if self.ensemble.rises:
                    setattr(term.loss, self.ensemble.rises, share * self.full[name])
            losses = self.together(*self.ensemble.lead(outputs), batch, mask) if self.together else {}
            if self.embedded:
                losses |= self.embedded(self.embeddings(outputs), None, batch, mask)
            if not self.each:
                return losses
            for name, (one, others) in self.ensemble.pairs(
                dict(zip(self.students(), outputs, strict=True)), teacher_outputs
            ).items():
                taught = self._each(one, others, batch, mask, share)
                losses |= {f"{name}/{key}": value for key, value in taught.items()}
        return losses

    def _each(
        self, outputs: Outputs, others: list[Outputs], batch: Batch, mask: Tensor | None, share: float
    ) -> dict[str, Tensor]:
        """The terms of one student, the mean over those who teach it."""
        found = [self.each(outputs, teacher_outputs, batch, mask) for teacher_outputs in others]
        taught = {name: share if term.loss.needs_teacher else 1.0 for name, term in self.each.named().items()}
        return {name: factor * torch.stack([one[name] for one in found]).mean() for name, factor in taught.items()}

    def embeddings(self, outputs: list[Outputs]) -> Outputs:
        """What they say as a group, with what enters each one's classifier in place of its answer."""
        return Outputs(outputs[0].response, members=[Outputs(as_vector(one[self.embedding])) for one in outputs])

    def optimised(self) -> dict[str, nn.Module]:
        """All of it."""
        return {"": self}

    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters()).device

    def students(self) -> dict[str, FeatureExtractor]:
        """Each one's whole network."""
        return self.branches.extractors()


def group_outputs(branches: nn.Module, task: Task, batch: Batch, inputs: list[Inputs] | None = None) -> list[Outputs]:
    """What each of several networks says of a batch, or of its own view of it."""
    outputs: list[Outputs] = branches(batch.inputs if inputs is None else inputs)
    return [Outputs(task.response(one.response, batch), one.features) for one in outputs]


def profile_with_outputs(profile: ModelProfile, outputs: Outputs) -> ModelProfile:
    """Return the profile of a network with these outputs."""
    members = [profile.with_response(member.response) for member in outputs.members]
    return replace(profile, response=outputs.response, metadata=outputs.metadata, members=members)


def as_responses(term: Term) -> WiringRequest:
    """Let a term of embeddings compare responses, whose place they take."""
    return replace(term.request, compares="response")
