"""What a term's samples count is learned from how the student does a step later, on samples that it isn't taught."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.objective.player import AuxiliaryPlayer, Player
from tutelage.policies.base import SampleWeight
from tutelage.schemes.base import SchemeContext, Turn, unwrap
from tutelage.schemes.lookahead import (
    LookaheadStudent,
    MetaBatches,
    Rate,
    detach_except,
    held_out,
    rate_of,
    refuse_unsupported,
)
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher
from tutelage.utils.options import LearningRate, ShareBetween


class Bilevel(Offline):
    """The learned policies of samples follow the student's error on a quiz, after a step that it doesn't take.

    θ' = θ − η ∇_θ L(θ, φ; batch);  φ ← φ − μ ∇_φ CE(θ'; quiz);  then θ takes its own step, φ a constant in L. η is the
    learning rate as it goes. meta_lr: μ, of AdamW without decay. quiz: the share of the training samples that is held
    out from the student, fair by class; a batch of it goes with each batch.
    Paper: Hu, Wu, Li, Ma, Chen, Wang, Yan, Liu. ICLR 2024. arXiv:2312.15112 (TGeo-KD), where the quiz is
    the validation split.
    Raises: ConfigError if meta_lr is negative, or the method has no policy of samples that learns.
    """

    def __init__(
        self, student: Player, teacher: Teacher | None, quiz: MetaBatches, rate: Rate, meta_lr: LearningRate = 1e-3
    ) -> None:
        super().__init__(student, teacher)
        self.quiz, self.rate, self.meta_lr = quiz, rate, meta_lr

    @classmethod
    def from_context(cls, parts: SchemeContext, meta_lr: LearningRate = 1e-3, quiz: ShareBetween = 0.1) -> Bilevel:
        """The student and its teacher."""
        refuse_unsupported(cls, parts.settings)
        network = parts.network()
        held = held_out(parts, quiz)
        teacher = parts.teacher(network)
        return cls(Player(network, parts.terms(), parts.task), teacher, held, rate_of(parts), meta_lr)

    def wire(self, batch: Batch, samples: int) -> None:
        """Pair the layers, size connectors, take the policies' parameters out of the student's, and try a lesson."""
        super().wire(batch, samples)
        found = self._own()
        if not found:
            raise ConfigError(
                "scheme=bilevel: no policy of samples in the method learns; use tgeo_kd, or samples={name: geometry}."
            )
        self.players["policies"] = MetaParameters(list(found.values()), self.meta_lr)
        for parameter in found.values():
            parameter.requires_grad_(False)
        self._lesson(batch, None if self.teacher is None else self.teacher(batch, self.layers), 0)

    def _own(self) -> dict[str, nn.Parameter]:
        """The policies' parameters in the student, by name."""
        student = unwrap(self.players["student"])
        return {
            f"{path}.{name}": parameter
            for path, module in student.named_modules()
            if isinstance(module, SampleWeight)
            for name, parameter in module.named_parameters()
        }

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """The policies' turn, then the student's, by what they are after their own."""
        teacher_outputs = None if self.teacher is None else self.teacher(batch, self.layers)
        yield "policies", {"quiz": self._lesson(batch, teacher_outputs, step)}
        with torch.no_grad():
            for own, learned in zip(self._own().values(), unwrap(self.players["policies"]).learned, strict=True):
                own.copy_(learned)
        yield "student", self.players["student"](batch, teacher_outputs)

    def _lesson(self, batch: Batch, teacher_outputs: Outputs | None, step: int) -> Tensor:
        """The student's error on the quiz after its step, with a gradient to the policies alone."""
        learned = unwrap(self.players["policies"]).learned
        virtual = LookaheadStudent(unwrap(self.players["student"]), dict(zip(self._own(), learned, strict=True)))
        losses = virtual.losses(batch, teacher_outputs)
        virtual.step(torch.stack(list(losses.values())).sum(), self.rate(step))
        return detach_except(virtual.error(self.quiz.batch(step, batch)), learned)


class MetaParameters(AuxiliaryPlayer):
    """A player of parameters alone, which begin as these; no student."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        super().__init__()
        self.learned = nn.ParameterList([p.detach().clone() for p in parameters])
        self.own_settings = {"optimizer": "adamw", "lr": lr, "weight_decay": 0.0, "dot": 0.0}
