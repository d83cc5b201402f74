"""A teacher that is trained to improve its student (MetaDistil)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.objective.player import AuxiliaryPlayer, Player
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
from tutelage.structures import Batch, Outputs
from tutelage.teachers.frozen import Frozen
from tutelage.utils.options import LearningRate, OpenFraction


class MetaDistil(Scheme):
    """The teacher minimises the student's loss on a quiz after a lookahead step; then the student learns from it.

    θ' = θ − η ∇_θ L(θ, φ; batch);  φ ← φ − μ ∇_φ CE(θ'; quiz);  θ ← θ − η ∇_θ L(θ, φ; batch), L the method's terms.
    η is the current learning rate. The step to θ' is plain gradient descent; the student's own step is the
    optimiser's. The teacher stays in eval mode, and its trained weights aren't saved.

    Args:
        meta_lr: μ, the learning rate of the teacher's optimiser, which is the run's without weight decay.
        quiz: the fraction of the training samples that is held out from the student, stratified by class; one batch of
            them accompanies each training batch.
    Paper: Zhou, Xu, McAuley. ACL 2022. arXiv:2106.04570.
    Raises: ConfigError if meta_lr is negative, or the method's terms have no gradient to the teacher.
    """

    name = "metadistil"
    caches_teacher = False

    def __init__(
        self, student: Player, teacher: Frozen, quiz: MetaBatches, rate: Rate, meta_lr: LearningRate = 1e-3
    ) -> None:
        super().__init__()
        self.players = nn.ModuleDict({"student": student, "teacher": TrainableTeacher(teacher, meta_lr)})
        self.quiz, self.rate = quiz, rate
        self.layers: tuple[str, ...] = ()

    @classmethod
    def from_context(cls, context: SchemeContext, meta_lr: LearningRate = 1e-3, quiz: OpenFraction = 0.1) -> MetaDistil:
        """Build the student, and the teacher as it was trained."""
        refuse_unsupported(cls, context.settings)
        if context.frozen_only:
            raise ConfigError(
                f"{context.frozen_only[0]} needs a frozen teacher, and scheme=metadistil trains the teacher: remove it."
            )
        network = context.network()
        quiz_batches = hold_out_batches(context, quiz)
        teacher = context.teacher(network)
        if not isinstance(teacher, Frozen):
            raise ConfigError(
                f"scheme=metadistil trains its teacher, which must be one network, and got {teacher}: name a model, a "
                "run folder or a stage."
            )
        return cls(Player(network, context.terms(), context.task), teacher, quiz_batches, rate_of(context), meta_lr)

    def wire(self, batch: Batch, samples: int) -> None:
        """Pair the layers, size the connectors, and check that the method has a gradient to the teacher."""
        student, teacher = unwrap(self.players["student"]), unwrap(self.players["teacher"])
        student.wire(teacher.teacher.profile(batch), batch, samples, self.provides)
        self.layers = student.terms.layers("teacher")
        self._meta_loss(batch, 0)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the teacher's turn, then the student's with the outputs of the updated teacher."""
        yield "teacher", {"quiz": self._meta_loss(batch, step)}
        with torch.no_grad():
            teacher_outputs = unwrap(self.players["teacher"])(batch, self.layers)
        yield "student", self.players["student"](batch, teacher_outputs)

    def _meta_loss(self, batch: Batch, step: int) -> Tensor:
        """Return the student's loss on the quiz after the lookahead step, with a gradient to the teacher alone."""
        teacher, lookahead = unwrap(self.players["teacher"]), LookaheadStudent(unwrap(self.players["student"]))
        losses = lookahead.losses(batch, teacher(batch, self.layers))
        lookahead.step(torch.stack(list(losses.values())).sum(), self.rate(step))
        return detach_except(lookahead.task_loss(self.quiz.batch(step, batch)), teacher.parameters())


class TrainableTeacher(AuxiliaryPlayer):
    """An auxiliary player that holds the teacher, in eval mode."""

    def __init__(self, teacher: Frozen, rate: float) -> None:
        super().__init__()
        self.teacher = teacher
        teacher.requires_grad_(True)
        self.own_settings = {"lr": rate, "weight_decay": 0.0}

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the teacher's outputs, with gradient."""
        return self.teacher.forward_student(batch, layers)
