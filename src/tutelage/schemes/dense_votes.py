"""A student whose losses get what each position of its last stages votes for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.nn.connectors import shape_of
from tutelage.nn.feature_extractor import to_float32
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import Checked, Few, FewOrZero, NonNegative


class DenseVotes(SelfTaught):
    """Each position of the last stages votes for a class; linear classifiers on them are left out in the end.

    Losses that ask for `votes` (B, C) get how many positions their classifier gives to each class. The last stage's is
    the student's own, where that reads the stage's mean over positions. Terms without a teacher that don't ask for
    votes are added up over the other classifiers, of means over positions.
    heads: how many stages before the last vote too, or all there are. head_weight: what the truth counts for their
    classifiers. enlarge: by how much maps grow, bilinearly, before their positions vote.
    Paper: Liang, Li, Bi, Zhou. ECCV 2022. arXiv:2207.12980 (ZipfLS): two heads and the weight of 0.5 as in the authors'
    network and code. Their commands have the last stage alone vote (heads 0), twice enlarged on small images.
    """

    name = "dense_votes"
    provides = ("votes",)

    @classmethod
    def from_context(
        cls, parts: SchemeContext, heads: FewOrZero = 2, head_weight: NonNegative = 0.5, enlarge: Few = 1
    ) -> DenseVotes:
        """The student."""
        return cls(DenseVotesPlayer(parts.network(), parts.terms(), parts.task, heads, head_weight, enlarge))


class DenseVotesPlayer(Checked, Player):
    """A student with linear classifiers on its last stages."""

    def __init__(
        self,
        model: nn.Module,
        terms: Terms,
        task: Task,
        heads: FewOrZero = 2,
        head_weight: NonNegative = 0.5,
        enlarge: Few = 1,
    ) -> None:
        super().__init__(model, terms, task)
        self.before_last, self.head_weight, self.enlarge = heads, head_weight, enlarge

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the stages and make the classifiers.

        Raises: ModelError if there is no stage; ConfigError if the student answers by position, or no term asks for
        votes.
        """
        profile = profile_model(self.student.model, batch)
        if profile.response.dim() != 2:
            raise ConfigError(
                f"scheme=dense_votes: the answer is {shape_of(profile.response)}, expected one a sample; "
                "scheme=offline "
                "ranks what each position answers."
            )
        self.truths = [name for name, term in self.terms.named().items() if "votes" not in term.loss_inputs[term.loss]]
        if len(self.truths) == len(self.terms):
            raise ConfigError("scheme=dense_votes: no term goes by votes; use one that does (zipf_ls).")
        if not profile.stages:
            raise ModelError("scheme=dense_votes: no stage was found in the student; scheme=offline needs none.")
        self.layers = [profile.named(stage.name, "map") for stage in profile.stages[-1 - self.before_last :]]
        features = [profile.feature(layer) for layer in self.layers]
        self.own = reader(profile, features[-1])
        headed = features[:-1] if self.own else features
        self.heads = nn.ModuleList(nn.Linear(x.shape[1], profile.response.shape[1]) for x in headed).to(features[-1])
        self.metadata = profile.metadata
        self.terms.wire(profile, None, batch, samples, provides)
        self.terms.refuse_frozen(profile)
        self.set_captured_layers(self.layers)

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """The terms of one forward, by its votes, and the truth of the classifiers' answers."""
        student_outputs = self.forward_student(batch)
        maps = [student_outputs[layer] for layer in self.layers]
        answers = [Outputs(to_float32(head(x.mean((2, 3))))) for head, x in zip(self.heads, maps, strict=False)]
        counted = replace(batch, extras=batch.extras | {"votes": self.votes(maps, student_outputs.response)})
        losses = self.compare(student_outputs, None, counted)
        with torch.autocast(student_outputs.response.device.type, enabled=False):
            for name in self.truths:
                term = self.terms.named()[name]
                of_heads = [term(answer, None, batch, self.task.mask(batch)) for answer in answers]
                losses[name] = losses[name] + self.head_weight * sum(of_heads)
        return losses

    @torch.no_grad()
    def votes(self, maps: Sequence[Tensor], response: Tensor) -> Tensor:
        """How many positions are given to each class, (B, C)."""
        own = [self.student.model.get_submodule(self.own)] if self.own else []
        counts = torch.zeros_like(response, dtype=torch.float32)  # half precision counts to 256
        for x, classify in zip(maps, [*self.heads, *own], strict=True):
            if self.enlarge > 1:
                x = F.interpolate(x, scale_factor=float(self.enlarge), mode="bilinear", align_corners=False)
            given = classify(x.flatten(2).transpose(1, 2)).argmax(2)
            counts.scatter_add_(1, given, torch.ones_like(given, dtype=counts.dtype))
        return counts


def reader(profile: ModelProfile, feature: Tensor) -> str:
    """The model's linear classifier, if it reads this feature's mean over positions; empty if it doesn't."""
    name, at, _ = profile.embedding.partition(":in")
    read, mean = profile.feature(profile.embedding), feature.mean((2, 3))
    same = bool(at) and read.shape == mean.shape and torch.allclose(read, mean, rtol=1e-4, atol=1e-5)
    return name if same else ""
