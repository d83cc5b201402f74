"""A teacher that learns to teach."""

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
    held_out,
    rate_of,
    refuse_unsupported,
)
from tutelage.structures import Batch, Outputs
from tutelage.teachers.frozen import Frozen
from tutelage.utils.options import LearningRate, ShareBetween


class MetaDistil(Scheme):
    """The teacher learns from how the student, after a step by what it says, does on a quiz; then the student learns.

    θ' = θ − η ∇_θ L(θ, φ; batch);  φ ← φ − μ ∇_φ CE(θ'; quiz);  θ ← θ − η ∇_θ L(θ, φ; batch), L the method's terms.
    η, as the learning rate goes, also for θ', which is a step of plain gradient descent; the second student's step is
    the optimiser's. meta_lr: μ of the teacher's optimiser, the run's without decay. quiz: the share of the training
    samples that is held out from the student, fair by class; a batch of it goes with each batch. The teacher stays in
    eval mode, and what it has become isn't kept.
    Paper: Zhou, Xu, McAuley. ACL 2022. arXiv:2106.04570.
    Raises: ConfigError if meta_lr is negative, or the method's terms give the teacher no gradient.
    """

    name = "metadistil"

    def __init__(
        self, student: Player, teacher: Frozen, quiz: MetaBatches, rate: Rate, meta_lr: LearningRate = 1e-3
    ) -> None:
        super().__init__()
        self.players = nn.ModuleDict({"student": student, "teacher": TrainableTeacher(teacher, meta_lr)})
        self.quiz, self.rate = quiz, rate
        self.layers: tuple[str, ...] = ()

    @classmethod
    def from_context(cls, parts: SchemeContext, meta_lr: LearningRate = 1e-3, quiz: ShareBetween = 0.1) -> MetaDistil:
        """The student, and the teacher as it was trained."""
        refuse_unsupported(cls, parts.settings)
        if parts.frozen_only:
            raise ConfigError(
                f"{parts.frozen_only[0]} is for a teacher that stays as it is; scheme=metadistil trains it."
            )
        network = parts.network()
        held = held_out(parts, quiz)
        teacher = parts.teacher(network)
        if not isinstance(teacher, Frozen):
            raise ConfigError(
                f"scheme=metadistil trains its teacher, one network, and got {teacher}: name a model, a "
                "run folder or a stage."
            )
        return cls(Player(network, parts.terms(), parts.task), teacher, held, rate_of(parts), meta_lr)

    def wire(self, batch: Batch, samples: int) -> None:
        """Pair the layers, size the connectors; refuse a method that gives the teacher no gradient."""
        student, teacher = unwrap(self.players["student"]), unwrap(self.players["teacher"])
        student.wire(teacher.teacher.profile(batch), batch, samples, self.provides)
        self.layers = student.terms.layers("teacher")
        self._lesson(batch, 0)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """The teacher's turn, then the student's, by what the teacher says after its own."""
        yield "teacher", {"quiz": self._lesson(batch, step)}
        with torch.no_grad():
            teacher_outputs = unwrap(self.players["teacher"])(batch, self.layers)
        yield "student", self.players["student"](batch, teacher_outputs)

    def _lesson(self, batch: Batch, step: int) -> Tensor:
        """The student's error on the quiz after its step, with a gradient to the teacher alone."""
        teacher, virtual = unwrap(self.players["teacher"]), LookaheadStudent(unwrap(self.players["student"]))
        losses = virtual.losses(batch, teacher(batch, self.layers))
        virtual.step(torch.stack(list(losses.values())).sum(), self.rate(step))
        return detach_except(virtual.error(self.quiz.batch(step, batch)), teacher.parameters())


class TrainableTeacher(AuxiliaryPlayer):
    """A player that is a teacher, in eval mode, and no student."""

    def __init__(self, teacher: Frozen, rate: float) -> None:
        super().__init__()
        self.teacher = teacher
        teacher.requires_grad_(True)
        self.own_settings = {"lr": rate, "weight_decay": 0.0}

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """What it says."""
        return self.teacher.forward_student(batch, layers)
