"""Sample weights learned from the student's loss on held-out samples after a lookahead step."""

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
    hold_out_batches,
    rate_of,
    refuse_unsupported,
)
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher
from tutelage.utils.options import LearningRate, OpenFraction


class Bilevel(Offline):
    """The learned sample policies minimise the student's loss on held-out samples (the quiz) after a lookahead step.

    θ' = θ − η ∇_θ L(θ, φ; batch);  φ ← φ − μ ∇_φ CE(θ'; quiz);  then θ takes its own step, φ a constant in L. η is the
    current learning rate.

    Args:
        meta_lr: μ, the learning rate of AdamW without weight decay.
        quiz: the fraction of the training samples that is held out from the student, stratified by class; one batch of
            them accompanies each training batch.
    Paper: Hu, Wu, Li, Ma, Chen, Wang, Yan, Liu. ICLR 2024. arXiv:2312.15112 (TGeo-KD), where the quiz is
    the validation split.
    Raises: ConfigError if meta_lr is negative, or the method has no learned sample policy.
    """

    def __init__(
        self, student: Player, teacher: Teacher | None, quiz: MetaBatches, rate: Rate, meta_lr: LearningRate = 1e-3
    ) -> None:
        super().__init__(student, teacher)
        self.quiz, self.rate, self.meta_lr = quiz, rate, meta_lr

    @classmethod
    def from_context(cls, context: SchemeContext, meta_lr: LearningRate = 1e-3, quiz: OpenFraction = 0.1) -> Bilevel:
        """Build the student and its teacher."""
        refuse_unsupported(cls, context.settings)
        network = context.network()
        quiz_batches = hold_out_batches(context, quiz)
        teacher = context.teacher(network)
        return cls(Player(network, context.terms(), context.task), teacher, quiz_batches, rate_of(context), meta_lr)

    def wire(self, batch: Batch, samples: int) -> None:
        """Pair the layers, size the connectors, move the policies' parameters to their own player, and try a step."""
        super().wire(batch, samples)
        parameters = self._policy_parameters()
        if not parameters:
            raise ConfigError(
                "scheme=bilevel: the method has no learned sample policy; use tgeo_kd, or samples={name: geometry}."
            )
        self.players["policies"] = MetaParameters(list(parameters.values()), self.meta_lr)
        for parameter in parameters.values():
            parameter.requires_grad_(False)
        self._meta_loss(batch, None if self.teacher is None else self.teacher(batch, self.layers), 0)

    def _policy_parameters(self) -> dict[str, nn.Parameter]:
        """Return the policies' parameters in the student's player, by name."""
        student = unwrap(self.players["student"])
        return {
            f"{path}.{name}": parameter
            for path, module in student.named_modules()
            if isinstance(module, SampleWeight)
            for name, parameter in module.named_parameters()
        }

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the policies' turn, then the student's with the updated policies."""
        teacher_outputs = None if self.teacher is None else self.teacher(batch, self.layers)
        yield "policies", {"quiz": self._meta_loss(batch, teacher_outputs, step)}
        with torch.no_grad():
            for parameter, learned in zip(
                self._policy_parameters().values(), unwrap(self.players["policies"]).learned, strict=True
            ):
                parameter.copy_(learned)
        yield "student", self.players["student"](batch, teacher_outputs)

    def _meta_loss(self, batch: Batch, teacher_outputs: Outputs | None, step: int) -> Tensor:
        """Return the student's loss on the quiz after the lookahead step, with a gradient to the policies alone."""
        learned = unwrap(self.players["policies"]).learned
        lookahead = LookaheadStudent(
            unwrap(self.players["student"]), dict(zip(self._policy_parameters(), learned, strict=True))
        )
        losses = lookahead.losses(batch, teacher_outputs)
        lookahead.step(torch.stack(list(losses.values())).sum(), self.rate(step))
        return detach_except(lookahead.task_loss(self.quiz.batch(step, batch)), learned)


class MetaParameters(AuxiliaryPlayer):
    """An auxiliary player that holds copies of parameters and no network."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        super().__init__()
        self.learned = nn.ParameterList([p.detach().clone() for p in parameters])
        self.own_settings = {"optimizer": "adamw", "lr": lr, "weight_decay": 0.0, "dot": 0.0}
