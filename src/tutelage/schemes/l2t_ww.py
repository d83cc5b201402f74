"""Learning what and where to transfer (L2T-ww): meta-learned weights of layer pairs and channels."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.lookahead import LookaheadStudent, Rate, rate_of, refuse_unsupported
from tutelage.schemes.meta_weighting import MetaWeighted, WeightNetwork
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher
from tutelage.utils.options import Fraction, LearningRate, NonNegative, SmallCount


class L2TWWScheme(MetaWeighted):
    """Networks weight the layer pairs and the teacher's channels; they minimise the student's loss after lookahead
    steps.

    Inner steps, on the batch: `steps` times v ← m·v + ∇L_wfm(θ', φ) + d·θ', θ' ← θ' − η·v, for the terms that need the
    teacher, then one such step with ∇CE(θ'). Then φ ← φ − μ ∇_φ CE(θ'), and θ takes its own step, by all terms.
    η is the current learning rate; v begins at 0.

    Args:
        steps: the number of inner steps by the terms that need the teacher.
        meta_lr: μ, the learning rate of AdamW without weight decay.
        momentum: m.
        decay: d.
        begin: the initial λ of each pair; None: 1 divided by the number of pairs, so that they sum to 1.
    Paper: Jang, Lee, Hwang, Shin. ICML 2019. arXiv:1905.05901: steps, m, d and μ as in the authors' code. There θ's own
    step comes first and v continues from its momentum, φ decays by 10⁻⁴, and λ begins at 1.
    Raises: ConfigError for an option out of range.
    """

    name = "l2t_ww"
    provides = ("pair_weights", "channel_weights")

    def __init__(
        self,
        student: Player,
        teacher: Teacher | None,
        rate: Rate,
        steps: SmallCount = 2,
        meta_lr: LearningRate = 1e-4,
        momentum: Fraction = 0.9,
        decay: Fraction = 1e-4,
        begin: NonNegative | None = None,
    ) -> None:
        super().__init__(student, teacher, Nets(meta_lr, begin), rate)
        self.steps, self.momentum, self.decay = steps, momentum, decay

    @classmethod
    def from_context(
        cls,
        context: SchemeContext,
        steps: SmallCount = 2,
        meta_lr: LearningRate = 1e-4,
        momentum: Fraction = 0.9,
        decay: Fraction = 1e-4,
        begin: NonNegative | None = None,
    ) -> L2TWWScheme:
        """Build the student and its teacher."""
        refuse_unsupported(cls, context.settings)
        network = context.network()
        teacher = context.teacher(network)
        return cls(
            Player(network, context.terms(), context.task),
            teacher,
            rate_of(context),
            steps,
            meta_lr,
            momentum,
            decay,
            begin,
        )

    def lookahead_loss(self, lookahead: LookaheadStudent, batch: Batch, teacher_outputs: Outputs, step: int) -> Tensor:
        """Take steps by the terms that need the teacher, then one by the task loss, and return the task loss."""
        options = self.rate(step), self.momentum, self.decay
        for _ in range(self.steps):
            lookahead.step(self.distillation_loss(lookahead.losses(batch, teacher_outputs)), *options)
        lookahead.step(lookahead.task_loss(batch), *options)
        return lookahead.task_loss(batch)


class Nets(WeightNetwork):
    """λ_ij = ReLU6(A_j t̄_j)_i and w_ij = softmax_c(B_j t̄_j)_i, t̄_j a teacher's layer averaged over positions.

    A and B are one linear layer each. Initially all pairs have equal weights, `begin` or summing to 1, and so have all
    channels of a pair.
    """

    def __init__(self, lr: float, begin: float | None = None) -> None:
        super().__init__(lr)
        self.begin = begin

    def build(self, students: int, widths: list[int]) -> None:
        """Create two linear layers for each layer of the teacher."""
        self.pairs = nn.ModuleList(nn.Linear(width, students) for width in widths)
        self.channels = nn.ModuleList(nn.Linear(width, students * width) for width in widths)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        begin = 1 / (students * len(widths)) if self.begin is None else self.begin
        for pair in self.pairs:
            nn.init.constant_(cast(Tensor, pair.bias), begin)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor | list[Tensor]]:
        """Return λ (B, I, J), and w (B, I, C) for each j."""
        pairs = [F.relu6(net(x)) for net, x in zip(self.pairs, features, strict=True)]
        channels = [
            net(x).unflatten(1, (-1, x.shape[1])).softmax(2) for net, x in zip(self.channels, features, strict=True)
        ]
        return {"pair_weights": torch.stack(pairs, dim=2), "channel_weights": channels}
