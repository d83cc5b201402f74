"""Learning what and where to transfer."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.objective.player import Player
from tutelage.schemes.base import Scheme, SchemeContext
from tutelage.schemes.lookahead import LookaheadStudent, Rate, rate_of, refuse_unsupported
from tutelage.schemes.meta_weighting import MetaWeighted, WeightNetwork
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher
from tutelage.utils.options import Few, LearningRate, NonNegative, Share


class L2TWWScheme(MetaWeighted, Scheme):  # the registry looks for Scheme by name
    """Networks weigh the pairs of layers and the teacher's channels; they learn from the student a few steps ahead.

    Inner steps, on the batch: `steps` times v ← m·v + ∇L_wfm(θ', φ) + d·θ', θ' ← θ' − η·v, of the terms that need the
    teacher, then once the like by ∇CE(θ'). Then φ ← φ − μ ∇_φ CE(θ'), and θ takes its own step, by all terms.
    η is the learning rate as it goes. meta_lr: μ, of AdamW without decay. momentum, decay: m and d; v begins at 0.
    begin: what λ is of each pair at first; None takes the pairs' mean, so that they add up to 1.
    Paper: Jang, Lee, Hwang, Shin. ICML 2019. arXiv:1905.05901: steps, m, d and μ as in the authors' code. There θ's own
    step comes first and v goes on from its momentum, φ decays by 10⁻⁴, and λ begins at 1.
    Raises: ConfigError for an option out of range.
    """

    name = "l2t_ww"
    provides = ("pair_weights", "channel_weights")

    def __init__(
        self,
        student: Player,
        teacher: Teacher | None,
        rate: Rate,
        steps: Few = 2,
        meta_lr: LearningRate = 1e-4,
        momentum: Share = 0.9,
        decay: Share = 1e-4,
        begin: NonNegative | None = None,
    ) -> None:
        super().__init__(student, teacher, Nets(meta_lr, begin), rate)
        self.steps, self.momentum, self.decay = steps, momentum, decay

    @classmethod
    def from_context(
        cls,
        parts: SchemeContext,
        steps: Few = 2,
        meta_lr: LearningRate = 1e-4,
        momentum: Share = 0.9,
        decay: Share = 1e-4,
        begin: NonNegative | None = None,
    ) -> L2TWWScheme:
        """The student and its teacher."""
        refuse_unsupported(cls, parts.settings)
        network = parts.network()
        teacher = parts.teacher(network)
        return cls(
            Player(network, parts.terms(), parts.task), teacher, rate_of(parts), steps, meta_lr, momentum, decay, begin
        )

    def ahead_of(self, virtual: LookaheadStudent, batch: Batch, teacher_outputs: Outputs, step: int) -> Tensor:
        """By the features, then by the truth."""
        how = self.rate(step), self.momentum, self.decay
        for _ in range(self.steps):
            virtual.step(self.of_teacher(virtual.losses(batch, teacher_outputs)), *how)
        virtual.step(virtual.error(batch), *how)
        return virtual.error(batch)


class Nets(WeightNetwork):
    """λ_ij = ReLU6(A_j t̄_j)_i and w_ij = softmax_c(B_j t̄_j)_i of each teacher's layer averaged over positions, t̄_j.

    One linear layer each; all pairs begin alike, at `begin` or adding up to 1, and all channels of a pair.
    """

    def __init__(self, lr: float, begin: float | None = None) -> None:
        super().__init__(lr)
        self.begin = begin

    def build(self, students: int, widths: list[int]) -> None:
        """Two layers for each of the teacher's."""
        self.pairs = nn.ModuleList(nn.Linear(width, students) for width in widths)
        self.channels = nn.ModuleList(nn.Linear(width, students * width) for width in widths)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        begin = 1 / (students * len(widths)) if self.begin is None else self.begin
        for pair in self.pairs:
            nn.init.constant_(cast(Tensor, pair.bias), begin)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor | list[Tensor]]:
        """λ (B, I, J), and for each j w (B, I, C)."""
        pairs = [F.relu6(net(x)) for net, x in zip(self.pairs, features, strict=True)]
        channels = [
            net(x).unflatten(1, (-1, x.shape[1])).softmax(2) for net, x in zip(self.channels, features, strict=True)
        ]
        return {"pair_weights": torch.stack(pairs, dim=2), "channel_weights": channels}
