"""A student whose soft targets are its own outputs for another sample of the class (CS-KD)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs


class SameClass(SelfTaught):
    """Each sample is accompanied by another sample of its class, for which the student's outputs are the soft targets.

    L = terms(z(x), sg z(x')), x' of the same class; sg: without gradient, from a separate forward in training mode.
    Paper: Yun, Park, Lee, Shin. CVPR 2020. arXiv:2003.13964 (CS-KD), where the terms are CE and KD at T = 4.
    """

    name = "same_class"

    def __init__(self, player: Player) -> None:
        super().__init__(player, sampling="pairs")

    @classmethod
    def from_context(cls, context: SchemeContext) -> SameClass:
        """Build the student."""
        return cls(PairPlayer(context.network(), context.terms(), context.task))


class PairPlayer(Player):
    """A student whose batches are samples followed by a companion of each."""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Wire the terms to the student itself as the teacher."""
        super().wire(profile_model(self.student.model, batch), batch, samples, provides)
        self.set_captured_layers(self.terms.layers("teacher"))

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Return the weighted terms of the samples, with the outputs for their companions as the teacher's."""
        half = len(batch) // 2
        samples = batch.part(0, half)
        with torch.no_grad():
            teacher_outputs = self.forward_student(batch.part(half, len(batch)))
        return self.compare(self.forward_student(samples), teacher_outputs, samples)
