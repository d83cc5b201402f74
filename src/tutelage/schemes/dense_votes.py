"""A student whose losses get votes for classes, one by each position of its last stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.nn.connectors import format_shape
from tutelage.nn.feature_extractor import to_float32
from tutelage.nn.maps import LINEAR_MODES, average_positions, dimensions_of
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import CheckedArguments, NonNegative, SmallCount, SmallCountOrZero


class DenseVotes(SelfTaught):
    """Each position of the last stages votes for a class; the exported student lacks their auxiliary classifiers.

    Losses that require `votes` (B, C) get the number of positions that the stages' classifiers assign to each class.
    The last stage's classifier is the student's own, if its input is the stage's mean over positions. Terms that need
    neither a teacher nor votes are also summed over the auxiliary classifiers, applied to means over positions.

    Args:
        heads: the number of stages before the last that vote too; fewer if the student has fewer.
        head_weight: the weight of the supervised terms of the auxiliary classifiers.
        enlarge: the factor by which maps are enlarged, bilinearly, before their positions vote.
    Paper: Liang, Li, Bi, Zhou. ECCV 2022. arXiv:2207.12980 (ZipfLS): two heads and the weight of 0.5 as in the authors'
    network and code. In their commands the last stage votes alone (heads 0), enlarged twice on small images.
    """

    name = "dense_votes"
    provides = ("votes",)

    @classmethod
    def from_context(
        cls,
        context: SchemeContext,
        heads: SmallCountOrZero = 2,
        head_weight: NonNegative = 0.5,
        enlarge: SmallCount = 1,
    ) -> DenseVotes:
        """Build the student."""
        return cls(DenseVotesPlayer(context.network(), context.terms(), context.task, heads, head_weight, enlarge))


class DenseVotesPlayer(CheckedArguments, Player):
    """A student with linear classifiers on its last stages."""

    def __init__(
        self,
        model: nn.Module,
        terms: Terms,
        task: Task,
        heads: SmallCountOrZero = 2,
        head_weight: NonNegative = 0.5,
        enlarge: SmallCount = 1,
    ) -> None:
        super().__init__(model, terms, task)
        self.before_last, self.head_weight, self.enlarge = heads, head_weight, enlarge

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the stages and build the classifiers.

        Raises: ModelError if there is no stage; ConfigError if the student's logits have positions, or no term
        requires votes.
        """
        profile = profile_model(self.student.model, batch)
        if profile.response.dim() != 2:
            raise ConfigError(
                f"scheme=dense_votes: the student's response is {format_shape(profile.response)}, expected one per "
                "sample; "
                "use scheme=offline, which ranks the response of each position."
            )
        self.supervised_names = [
            name for name, term in self.terms.named_terms().items() if "votes" not in term.loss_inputs[term.loss]
        ]
        if len(self.supervised_names) == len(self.terms):
            raise ConfigError("scheme=dense_votes: no term of the method requires votes; add one that does (zipf_ls).")
        if not profile.stages:
            raise ModelError(
                "scheme=dense_votes: no stage was found in the student; use scheme=offline, which needs none."
            )
        self.layers = [profile.name_with_form(stage.name, "map") for stage in profile.stages[-1 - self.before_last :]]
        features = [profile.feature(layer) for layer in self.layers]
        self.classifier_name = classifier_of_mean(profile, features[-1])
        head_features = features[:-1] if self.classifier_name else features
        self.heads = nn.ModuleList(nn.Linear(x.shape[1], profile.response.shape[1]) for x in head_features).to(
            features[-1]
        )
        self.metadata = profile.metadata
        self.terms.wire(profile, None, batch, samples, provides)
        self.terms.refuse_frozen(profile)
        self.set_captured_layers(self.layers)

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Run one forward; return the weighted terms, with the supervised terms of the auxiliary classifiers added."""
        student_outputs = self.forward_student(batch)
        maps = [student_outputs[layer] for layer in self.layers]
        vectors = [average_positions(x) for x in maps]
        head_outputs = [Outputs(to_float32(head(x))) for head, x in zip(self.heads, vectors, strict=False)]
        batch_with_votes = replace(batch, extras=batch.extras | {"votes": self.votes(maps, student_outputs.response)})
        losses = self.compare(student_outputs, None, batch_with_votes)
        with torch.autocast(student_outputs.response.device.type, enabled=False):
            for name in self.supervised_names:
                term = self.terms.named_terms()[name]
                head_losses = [term(outputs, None, batch, self.task.stream_mask(batch)) for outputs in head_outputs]
                losses[name] = losses[name] + self.head_weight * sum(head_losses)
        return losses

    @torch.no_grad()
    def votes(self, maps: Sequence[Tensor], response: Tensor) -> Tensor:
        """Count the positions that vote for each class, (B, C)."""
        last_head = [self.student.model.get_submodule(self.classifier_name)] if self.classifier_name else []
        counts = torch.zeros_like(response, dtype=torch.float32)  # half precision counts to 256
        for x, classify in zip(maps, [*self.heads, *last_head], strict=True):
            if self.enlarge > 1:
                mode = LINEAR_MODES[dimensions_of(x)]
                x = F.interpolate(x, scale_factor=float(self.enlarge), mode=mode, align_corners=False)
            predicted = classify(x.flatten(2).transpose(1, 2)).argmax(2)
            counts.scatter_add_(1, predicted, torch.ones_like(predicted, dtype=counts.dtype))
        return counts


def classifier_of_mean(profile: ModelProfile, feature: Tensor) -> str:
    """Return the name of the model's linear classifier if its input is the feature's mean over positions, else ""."""
    name, at, _ = profile.embedding.partition(":in")
    classifier_input, mean = profile.feature(profile.embedding), average_positions(feature)
    same = (
        bool(at)
        and classifier_input.shape == mean.shape
        and torch.allclose(classifier_input, mean, rtol=1e-4, atol=1e-5)
    )
    return name if same else ""
