"""Learned weights of the paths between teacher layers and student layers (DistPro)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.lookahead import (
    LookaheadStudent,
    MetaBatches,
    Rate,
    hold_out_batches,
    rate_of,
    refuse_unsupported,
)
from tutelage.schemes.meta_weighting import MetaWeighted, WeightNetwork
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher
from tutelage.utils.options import LearningRate, OpenFraction


class DistProScheme(MetaWeighted):
    """The weights of the paths between layers minimise the student's loss on a quiz after a lookahead step.

    θ' = θ − η ∇_θ L(θ, α; batch);  α ← α − μ ∇_α CE(θ'; quiz);  then θ takes its own step, L the method's terms.
    η is the current learning rate.

    Args:
        meta_lr: μ, the learning rate of Adam with β₁ 0.5.
        quiz: the fraction of the training samples that is held out from the student, stratified by class; one batch of
            them accompanies each training batch.
    Paper: Deng, Sun, Newsam, Wang. ECCV 2022. arXiv:2204.05547, which searches the schedule of α in a smaller training
    and then trains with it; here both happen in one training. μ and β₁ as in the authors' code.
    Raises: ConfigError if meta_lr is negative.
    """

    name = "distpro"
    provides = ("pair_weights",)

    def __init__(
        self, student: Player, teacher: Teacher | None, quiz: MetaBatches, rate: Rate, meta_lr: LearningRate = 0.1
    ) -> None:
        super().__init__(student, teacher, Paths(meta_lr), rate)
        self.quiz = quiz

    @classmethod
    def from_context(
        cls, context: SchemeContext, meta_lr: LearningRate = 0.1, quiz: OpenFraction = 0.1
    ) -> DistProScheme:
        """Build the student and its teacher."""
        refuse_unsupported(cls, context.settings)
        network = context.network()
        quiz_batches = hold_out_batches(context, quiz)
        teacher = context.teacher(network)
        return cls(Player(network, context.terms(), context.task), teacher, quiz_batches, rate_of(context), meta_lr)

    def lookahead_loss(self, lookahead: LookaheadStudent, batch: Batch, teacher_outputs: Outputs, step: int) -> Tensor:
        """Take one lookahead step by all terms, and return the loss on the quiz."""
        lookahead.step(torch.stack(list(lookahead.losses(batch, teacher_outputs).values())).sum(), self.rate(step))
        return lookahead.task_loss(self.quiz.batch(step, batch))


class Paths(WeightNetwork):
    """A weight for each path and one for no path: α = softmax(a), a learned, equal for all samples, initially uniform.

    The weight for no path is our reading of the paper: with it, all paths together may lose weight. So are the weights
    of paths that the loss omits.
    """

    own_betas = 0.5, 0.999

    def build(self, students: int, widths: list[int]) -> None:
        """Create one logit per path and one for no path."""
        self.shape = students, len(widths)
        self.logits = nn.Parameter(torch.zeros(students * len(widths) + 1))

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Return the path weights α (B, I, J)."""
        weights = self.logits.softmax(0)[:-1].reshape(self.shape)
        return {"pair_weights": weights.expand(len(features[0]), *self.shape)}
