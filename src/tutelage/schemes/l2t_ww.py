"""Learning what and where to transfer."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.options import Few, LearningRate
from tutelage.player import Player
from tutelage.schemes.base import Parts, Scheme
from tutelage.schemes.virtual import Rate, Virtual, rate_of, refuse
from tutelage.schemes.weighed import Weighed, Weights
from tutelage.teachers.base import Teacher
from tutelage.values import Batch, Outputs


class L2TWW(Weighed, Scheme):  # the registry looks for Scheme by name
    """Networks weigh the pairs of layers and the teacher's channels; they learn from the student a few steps ahead.

    Inner steps, on the batch: `steps` times θ' ← θ' − η ∇ L_wfm(θ', φ), the terms that need the teacher, then once
    θ' ← θ' − η ∇ CE(θ'). Then φ ← φ − μ ∇_φ CE(θ'), and θ takes its own step, by all terms.
    η is the learning rate as it goes. meta_lr: μ, of AdamW without decay.
    Paper: Jang, Lee, Hwang, Shin. ICML 2019. arXiv:1905.05901, where steps is 2, and θ's own step comes first.
    Raises: ConfigError if steps isn't above 0, or meta_lr is negative.
    """

    name = "l2t_ww"

    def __init__(
        self, student: Player, teacher: Teacher | None, rate: Rate, steps: Few = 2, meta_lr: LearningRate = 1e-3
    ) -> None:
        super().__init__(student, teacher, Nets(meta_lr), rate)
        self.steps = steps

    @classmethod
    def of(cls, parts: Parts, steps: Few = 2, meta_lr: LearningRate = 1e-3) -> L2TWW:
        """The student and its teacher."""
        refuse(parts.config)
        network = parts.network()
        teacher = parts.teacher(network)
        return cls(Player(network, parts.terms(), parts.task), teacher, rate_of(parts), steps, meta_lr)

    def ahead_of(self, virtual: Virtual, batch: Batch, told: Outputs, step: int) -> Tensor:
        """By the features, then by the truth."""
        rate = self.rate(step)
        for _ in range(self.steps):
            virtual.step(self.of_teacher(virtual.losses(batch, told)), rate)
        virtual.step(virtual.error(batch), rate)
        return virtual.error(batch)


class Nets(Weights):
    """λ_ij = ReLU6(A_j t̄_j)_i and w_ij = softmax_c(B_j t̄_j)_i of each teacher's layer averaged over positions, t̄_j.

    One linear layer each; all pairs begin alike, adding up to 1, and all channels of a pair: our reading.
    """

    gives = ("pair_weights", "channel_weights")

    def build(self, students: int, widths: list[int]) -> None:
        """Two layers for each of the teacher's."""
        self.pairs = nn.ModuleList(nn.Linear(width, students) for width in widths)
        self.channels = nn.ModuleList(nn.Linear(width, students * width) for width in widths)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        for pair in self.pairs:
            nn.init.constant_(cast(Tensor, pair.bias), 1 / (students * len(widths)))

    def forward(self, features: list[Tensor]) -> dict[str, Tensor | list[Tensor]]:
        """λ (B, I, J), and for each j w (B, I, C)."""
        pairs = [F.relu6(net(x)) for net, x in zip(self.pairs, features, strict=True)]
        channels = [
            net(x).unflatten(1, (-1, x.shape[1])).softmax(2) for net, x in zip(self.channels, features, strict=True)
        ]
        return {"pair_weights": torch.stack(pairs, dim=2), "channel_weights": channels}
