"""Shing, Misaki, Bao, Yokoi, Akiba: a target that moves from the student to the teacher."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Sequence, require_same_shape
from tutelage.losses.functional.chunked import apply_in_chunks
from tutelage.losses.functional.divergence import kl
from tutelage.utils.options import Epochs, Fraction, NonNegative


class TAID(Sequence):
    r"""Match a mixture of the student's and the teacher's distributions, which moves to the teacher in training.

    p = softmax((1−t)·z_s + t·z_t), without gradient;  L = KL(p ‖ softmax(z_s)).
    After each step in training, with ℓ the mean loss and ℓ' that of the previous step:
    m ← β·m + (1−β)·(ℓ' − ℓ)/ℓ';  t ← min(t_end, max(t_start + (t_end − t_start)·epoch/epochs, t + α·σ(m)·(1−t))).
    The first step keeps t. `adaptive=False` leaves only the linear schedule.

    Shapes: student, teacher (B, T, V) logits, targets (B, T) int64, −100 at positions that don't count; returns (N,).
    epoch: the training progress in epochs, of `epochs` in total.
    Paper: Shing, Misaki, Bao, Yokoi, Akiba. ICLR 2025. arXiv:2501.16937, algorithm 1. The authors' code leaves out p's
    entropy (`entropy=False`), which doesn't depend on the weights but does enter ℓ.
    Raises: ConfigError if not 0 ≤ t_start ≤ t_end ≤ 1 or `epochs` isn't above 0, or the shapes differ.
    """

    paper = "Shing, Misaki, Bao, Yokoi, Akiba. ICLR 2025. arXiv:2501.16937"
    ignores = ("shift of logits",)
    compiles = False

    t_start: Fraction = 0.4
    t_end: Fraction = 1.0
    alpha: NonNegative = 5e-4
    beta: Fraction = 0.99
    epochs: Epochs = 10.0
    adaptive: bool = True
    entropy: bool = True

    def __post_init__(self) -> None:
        if self.t_start > self.t_end:
            raise ConfigError(f"TAID(t_start={self.t_start!r}, t_end={self.t_end!r}): expected t_start ≤ t_end.")
        self.t = nn.Buffer(torch.tensor(float(self.t_start)))
        self.momentum = nn.Buffer(torch.tensor(0.0))
        self.previous_loss = nn.Buffer(torch.tensor(float("inf")))  # inf: there is no previous step

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor | None = None, epoch: float = 0.0) -> Tensor:
        require_same_shape(self, student, teacher)
        divergence = partial(self.divergence, self.t.clone())  # a copy: t moves before the backward pass
        values = apply_in_chunks(divergence, self.tokens(student, targets), student, teacher)
        if self.training and len(values):
            self.move(values.detach().mean(), epoch / self.epochs)
        return values

    def divergence(self, at: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
        """The divergence of each row of logits (N, V), as (N,), with t = `at`."""
        log_p = F.log_softmax((1 - at) * student.detach() + at * teacher, dim=1)
        log_s = F.log_softmax(student, dim=1)
        return kl(log_p, log_s) if self.entropy else -(log_p.exp() * log_s).sum(1)

    @torch.no_grad()
    def move(self, loss: Tensor, progress: float) -> None:
        """Move t one step towards the teacher, by more the faster the loss falls."""
        known = self.previous_loss.isfinite()
        fall = (self.previous_loss - loss) / (self.previous_loss + 1e-15)
        self.momentum.copy_(torch.where(known, self.beta * self.momentum + (1 - self.beta) * fall, self.momentum))
        t = self.t_start + (self.t_end - self.t_start) * torch.full_like(self.t, progress)
        if self.adaptive:
            t = torch.maximum(t, self.t + self.alpha * self.momentum.sigmoid() * (1 - self.t)).clamp(max=self.t_end)
        self.t.copy_(torch.where(known, t, self.t))
        self.previous_loss.copy_(loss)
