"""A generator of soft targets for a student's exits (MetaDistiller)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn.connectors import as_map, resize
from tutelage.nn.feature_extractor import eval_no_grad
from tutelage.nn.maps import average_positions, conv, dimensions_of
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective.player import AuxiliaryPlayer
from tutelage.schemes.base import Scheme, SchemeContext, Turn, unwrap
from tutelage.schemes.lookahead import (
    LookaheadStudent,
    MetaBatches,
    Rate,
    detach_except,
    hold_out_batches,
    rate_of,
    refuse_unsupported,
)
from tutelage.schemes.multi_exit import MultiExitPlayer, sum_by_name
from tutelage.structures import Batch, Outputs
from tutelage.utils.options import LearningRate, OpenFraction

WIDTH = 64
"""The number of channels in the generator's pyramid."""

Generate = Callable[[list[Tensor]], list[Tensor]]
"""A function from features, shallow to deep, to the target logits of each exit."""


class MetaDistiller(Scheme):
    """A student's exits learn from targets that a generator computes from its features; neither is exported.

    θ' = θ − η ∇_θ L(θ, φ; batch);  φ ← φ − μ ∇_φ Σ CE(θ'; quiz), over all exits;  then θ takes its own step, L the
    method's terms. Terms without a teacher are summed over all exits and the model's own logits; losses that take lists
    of student and teacher outputs get the logits of the exits, the model's own last, and the generated ones.
    η is the current learning rate.

    Args:
        meta_lr: μ, the learning rate of AdamW without weight decay.
        quiz: the fraction of the training samples that is held out from the student, stratified by class; one batch of
            them accompanies each training batch.
    Paper: Liu, Rao, Lu, Zhou, Hsieh. ECCV 2020. arXiv:2008.12094; the generator's architecture, beyond a pyramid of
    features, is ours.
    Raises: ConfigError if meta_lr is negative, or no term learns from the targets.
    """

    name = "metadistiller"
    takes_teacher: ClassVar[bool] = False

    def __init__(self, student: SoftTargetPlayer, quiz: MetaBatches, rate: Rate, meta_lr: LearningRate = 1e-3) -> None:
        super().__init__()
        self.players = nn.ModuleDict({"student": student, "generator": Generator(meta_lr)})
        self.quiz, self.rate = quiz, rate

    @classmethod
    def from_context(
        cls, context: SchemeContext, meta_lr: LearningRate = 1e-3, quiz: OpenFraction = 0.1
    ) -> MetaDistiller:
        """Build the student."""
        refuse_unsupported(cls, context.settings)
        network = context.network()
        quiz_batches = hold_out_batches(context, quiz)
        return cls(SoftTargetPlayer(network, context.terms(), context.task), quiz_batches, rate_of(context), meta_lr)

    def wire(self, batch: Batch, samples: int) -> None:
        """Build the heads and the generator, and check that the method has a gradient to the generator."""
        student, generator = unwrap(self.players["student"]), unwrap(self.players["generator"])
        student.wire(None, batch, samples, self.provides)
        with eval_no_grad(student):
            student_outputs = student.forward_student(batch)
        generator.build(
            [as_map(student_outputs[layer]) for layer in student.generator_layers], student_outputs.response.shape[1]
        )
        self._meta_loss(batch, 0)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the generator's turn, then the student's with the targets of the updated generator."""
        yield "generator", {"quiz": self._meta_loss(batch, step)}
        yield "student", self.players["student"](batch, unwrap(self.players["generator"]).generate_detached)

    def _meta_loss(self, batch: Batch, step: int) -> Tensor:
        """Return the exits' loss on the quiz after the lookahead step, with a gradient to the generator alone."""
        student, generator = unwrap(self.players["student"]), unwrap(self.players["generator"])
        lookahead = LookaheadStudent(student)
        lookahead.step(torch.stack(list(lookahead.losses(batch, generator).values())).sum(), self.rate(step))
        losses = lookahead.losses(self.quiz.batch(step, batch), generator)
        supervised = [losses[name] for name, term in student.terms.named_terms().items() if not term.loss.needs_teacher]
        return detach_except(torch.stack(supervised).sum(), generator.parameters())


class SoftTargetPlayer(MultiExitPlayer):
    """A student with exits; each exit and the student itself have targets of their own."""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the layers, build the heads, and wire the terms to their logits."""
        exits_profile, profile = self.profiles(batch)
        members = [*exits_profile.member_profiles, profile]
        self.terms.wire(
            replace(exits_profile, member_profiles=members),
            replace(profile, member_profiles=members),
            batch,
            samples,
            provides,
        )
        if self.terms.layers("teacher") or not any(
            term.loss.needs_teacher for term in self.terms.named_terms().values()
        ):
            raise ConfigError(
                "scheme=metadistiller generates logits: use a loss that takes lists of logits (method=hydra)."
            )
        self.capture_exits()
        self.generator_layers = (*self.exits, self.deepest)

    def forward(self, batch: Batch, teacher_outputs: Generate) -> dict[str, Tensor]:  # type: ignore[override]
        """Run one forward of the student and its heads, and return the weighted terms.

        teacher_outputs: the function that generates the targets from the features.
        """
        student_outputs = self.forward_student(batch)
        exits = [head(student_outputs[layer])[1] for head, layer in zip(self.heads, self.exits, strict=True)]
        targets = [
            x.to(student_outputs.response)
            for x in teacher_outputs([student_outputs[layer].detach() for layer in self.generator_layers])
        ]
        with torch.autocast(student_outputs.response.device.type, enabled=False):
            mask = self.task.stream_mask(batch)
            members = [
                Outputs(x.to(student_outputs.response), metadata=self.metadata)
                for x in (*exits, student_outputs.response)
            ]
            generated = Outputs(targets[-1], member_outputs=[Outputs(x) for x in targets])
            supervised = sum_by_name([self.terms.supervised_terms(x, generated, batch, mask) for x in members])
            all_outputs = Outputs(student_outputs.response, student_outputs.features, self.metadata, members)
            return self.terms(all_outputs, generated, batch, mask, supervised)


class Generator(AuxiliaryPlayer):
    """An auxiliary player: a pyramid from the deepest feature to the shallowest, with a classifier at each level.

    p_K = c_K(f_K), p_k = c_k(f_k) + p_{k+1} resized;  g_k = fc_k(mean_hw relu(p_k)), c 1×1 convolutions.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.own_settings = {"optimizer": "adamw", "lr": rate, "weight_decay": 0.0, "dot": 0.0}

    def build(self, features: list[Tensor], classes: int) -> None:
        """Create the modules from an example of the features, shallow to deep."""
        self.lateral = nn.ModuleList(conv(dimensions_of(x), x.shape[1], WIDTH) for x in features)
        self.fc = nn.ModuleList(nn.Linear(WIDTH, classes) for _ in features)
        self.to(features[0])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the target logits (B, classes) of each exit, shallow to deep."""
        targets: list[Tensor] = []
        above: Tensor | None = None
        for lateral, fc, feature in reversed(list(zip(self.lateral, self.fc, features, strict=True))):
            level = lateral(as_map(feature))
            above = level if above is None else level + resize(above, level.shape[2:])
            targets.append(fc(average_positions(F.relu(above))))
        return targets[::-1]

    @torch.no_grad()
    def generate_detached(self, features: list[Tensor]) -> list[Tensor]:
        """Return the targets without gradient."""
        targets: list[Tensor] = self(features)
        return targets
