"""A search for the paths along which to distil."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.objective.player import Player
from tutelage.schemes.base import Scheme, SchemeContext
from tutelage.schemes.lookahead import LookaheadStudent, MetaBatches, Rate, held_out, rate_of, refuse_unsupported
from tutelage.schemes.meta_weighting import MetaWeighted, WeightNetwork
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher
from tutelage.utils.options import LearningRate, ShareBetween


class DistProScheme(MetaWeighted, Scheme):  # the registry looks for Scheme by name
    """The weights of the paths between layers learn from how the student, after a step by them, does on a quiz.

    θ' = θ − η ∇_θ L(θ, α; batch);  α ← α − μ ∇_α CE(θ'; quiz);  then θ takes its own step, L the method's terms.
    η is the learning rate as it goes. meta_lr: μ, of Adam with β₁ 0.5. quiz: the share of the training samples that
    is held out from the student, fair by class; a batch of it goes with each batch.
    Paper: Deng, Sun, Newsam, Wang. ECCV 2022. arXiv:2204.05547, which finds the course of α on a smaller training and
    then trains with it; here both are one. μ and β₁ as in the authors' code.
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
    def from_context(cls, parts: SchemeContext, meta_lr: LearningRate = 0.1, quiz: ShareBetween = 0.1) -> DistProScheme:
        """The student and its teacher."""
        refuse_unsupported(cls, parts.settings)
        network = parts.network()
        held = held_out(parts, quiz)
        teacher = parts.teacher(network)
        return cls(Player(network, parts.terms(), parts.task), teacher, held, rate_of(parts), meta_lr)

    def ahead_of(self, virtual: LookaheadStudent, batch: Batch, teacher_outputs: Outputs, step: int) -> Tensor:
        """By all terms, on the quiz."""
        virtual.step(torch.stack(list(virtual.losses(batch, teacher_outputs).values())).sum(), self.rate(step))
        return virtual.error(self.quiz.batch(step, batch))


class Paths(WeightNetwork):
    """A share for each path and one for none of them: α = softmax(a), a learned, whatever the sample; all begin alike.

    The share of none is our reading: with it all paths together may lose weight. So are those of paths that the loss
    leaves out.
    """

    own_betas = 0.5, 0.999

    def build(self, students: int, widths: list[int]) -> None:
        """A number a path, and one more."""
        self.shape = students, len(widths)
        self.logits = nn.Parameter(torch.zeros(students * len(widths) + 1))

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """α (B, I, J)."""
        shares = self.logits.softmax(0)[:-1].reshape(self.shape)
        return {"pair_weights": shares.expand(len(features[0]), *self.shape)}
