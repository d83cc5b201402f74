"""A generator of targets for a student's exits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn.connectors import as_map, resized
from tutelage.nn.feature_extractor import eval_no_grad
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective.player import AuxiliaryPlayer
from tutelage.schemes.base import Scheme, SchemeContext, Turn, unwrap
from tutelage.schemes.lookahead import (
    LookaheadStudent,
    MetaBatches,
    Rate,
    detach_except,
    held_out,
    rate_of,
    refuse_unsupported,
)
from tutelage.schemes.multi_exit import MultiExitPlayer, added
from tutelage.structures import Batch, Outputs
from tutelage.utils.options import LearningRate, ShareBetween

WIDTH = 64
"""Of the generator's pyramid."""

Generate = Callable[[list[Tensor]], list[Tensor]]
"""Features, shallow to deep, to the logits that each exit is to say."""


class MetaDistiller(Scheme):
    """A student's exits learn from targets that a generator makes of its features; in the end both are left out.

    θ' = θ − η ∇_θ L(θ, φ; batch);  φ ← φ − μ ∇_φ Σ CE(θ'; quiz), over all exits;  then θ takes its own step, L the
    method's terms. Terms without a teacher are added up over all exits, the model's own answer among them; losses that
    take lists of student and teacher get the exits' answers, its own last, and the generated ones.
    η is the learning rate as it goes. meta_lr: μ, of AdamW without decay. quiz: the share of the training samples that
    is held out from the student, fair by class; a batch of it goes with each batch.
    Paper: Liu, Rao, Lu, Zhou, Hsieh. ECCV 2020. arXiv:2008.12094; what the generator is made of, beyond a pyramid of
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
        cls, parts: SchemeContext, meta_lr: LearningRate = 1e-3, quiz: ShareBetween = 0.1
    ) -> MetaDistiller:
        """The student."""
        refuse_unsupported(cls, parts.settings)
        network = parts.network()
        held = held_out(parts, quiz)
        return cls(SoftTargetPlayer(network, parts.terms(), parts.task), held, rate_of(parts), meta_lr)

    def wire(self, batch: Batch, samples: int) -> None:
        """Make the heads and the generator; refuse a method that gives it no gradient."""
        student, generator = unwrap(self.players["student"]), unwrap(self.players["generator"])
        student.wire(None, batch, samples, self.provides)
        with eval_no_grad(student):
            student_outputs = student.forward_student(batch)
        generator.build([as_map(student_outputs[layer]) for layer in student.read], student_outputs.response.shape[1])
        self._lesson(batch, 0)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """The generator's turn, then the student's, by what it generates after its own."""
        yield "generator", {"quiz": self._lesson(batch, step)}
        yield "student", self.players["student"](batch, unwrap(self.players["generator"]).constant)

    def _lesson(self, batch: Batch, step: int) -> Tensor:
        """The exits' errors on the quiz after the student's step, with a gradient to the generator alone."""
        student, generator = unwrap(self.players["student"]), unwrap(self.players["generator"])
        virtual = LookaheadStudent(student)
        virtual.step(torch.stack(list(virtual.losses(batch, generator).values())).sum(), self.rate(step))
        losses = virtual.losses(self.quiz.batch(step, batch), generator)
        truths = [losses[name] for name, term in student.terms.named().items() if not term.loss.needs_teacher]
        return detach_except(torch.stack(truths).sum(), generator.parameters())


class SoftTargetPlayer(MultiExitPlayer):
    """A student with exits, each of which, and itself, has a target of its own."""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the layers, make the heads, and wire the terms to what they say."""
        ours, profile = self.profiles(batch)
        members = [*ours.members, profile]
        self.terms.wire(replace(ours, members=members), replace(profile, members=members), batch, samples, provides)
        if self.terms.layers("teacher") or not any(term.loss.needs_teacher for term in self.terms.named().values()):
            raise ConfigError("scheme=metadistiller teaches by answers: take a loss of lists of them (method=hydra).")
        self.tap_exits()
        self.read = (*self.exits, self.deepest)

    def forward(self, batch: Batch, teacher_outputs: Generate) -> dict[str, Tensor]:  # type: ignore[override]
        """One forward of the student and its heads; told: what makes the targets of its features."""
        student_outputs = self.forward_student(batch)
        exits = [head(student_outputs[layer])[1] for head, layer in zip(self.heads, self.exits, strict=True)]
        targets = [
            x.to(student_outputs.response)
            for x in teacher_outputs([student_outputs[layer].detach() for layer in self.read])
        ]
        with torch.autocast(student_outputs.response.device.type, enabled=False):
            mask = self.task.mask(batch)
            members = [
                Outputs(x.to(student_outputs.response), metadata=self.metadata)
                for x in (*exits, student_outputs.response)
            ]
            generated = Outputs(targets[-1], members=[Outputs(x) for x in targets])
            truths = added([self.terms.supervised_terms(one, generated, batch, mask) for one in members])
            ours = Outputs(student_outputs.response, student_outputs.features, self.metadata, members)
            return self.terms(ours, generated, batch, mask, truths)


class Generator(AuxiliaryPlayer):
    """A player: a pyramid that goes from the deepest feature to the shallowest, with a classifier at each; no student.

    p_K = c_K(f_K), p_k = c_k(f_k) + p_{k+1} in its size;  g_k = fc_k(mean_hw relu(p_k)), c 1×1 convolutions.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.own_settings = {"optimizer": "adamw", "lr": rate, "weight_decay": 0.0, "dot": 0.0}

    def build(self, features: list[Tensor], classes: int) -> None:
        """From an example of the features, shallow to deep."""
        self.lateral = nn.ModuleList(nn.Conv2d(x.shape[1], WIDTH, 1) for x in features)
        self.fc = nn.ModuleList(nn.Linear(WIDTH, classes) for _ in features)
        self.to(features[0])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """The logits (B, classes) for each exit."""
        found: list[Tensor] = []
        above: Tensor | None = None
        for lateral, fc, feature in reversed(list(zip(self.lateral, self.fc, features, strict=True))):
            here = lateral(as_map(feature))
            above = here if above is None else here + resized(above, here.shape[2:])
            found.append(fc(F.relu(above).mean((2, 3))))
        return found[::-1]

    @torch.no_grad()
    def constant(self, features: list[Tensor]) -> list[Tensor]:
        """The same, without gradient."""
        found: list[Tensor] = self(features)
        return found
