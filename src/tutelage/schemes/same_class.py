"""A student that is told what it says of another sample of the class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs


class SameClass(SelfTaught):
    """Each sample comes with another one of its class, and what the student says of that one is its teacher.

    L = terms(z(x), sg z(x')), x' of the same class; sg: without gradient, from a forward of its own, in training mode.
    Paper: Yun, Park, Lee, Shin. CVPR 2020. arXiv:2003.13964 (CS-KD), where the terms are CE and KD at T = 4.
    """

    name = "same_class"

    def __init__(self, player: Player) -> None:
        super().__init__(player, order="pairs")

    @classmethod
    def from_context(cls, parts: SchemeContext) -> SameClass:
        """The student."""
        return cls(PairPlayer(parts.network(), parts.terms(), parts.task))


class PairPlayer(Player):
    """Its batches are samples, then a companion of each."""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Its own layers are its teacher's too."""
        super().wire(profile_model(self.student.model, batch), batch, samples, provides)
        self.set_captured_layers(self.terms.layers("teacher"))

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """The terms of the samples, their companions as the teacher."""
        half = len(batch) // 2
        ours = batch.part(0, half)
        with torch.no_grad():
            teacher_outputs = self.forward_student(batch.part(half, len(batch)))
        return self.compare(self.forward_student(ours), teacher_outputs, ours)
