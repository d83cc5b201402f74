"""Kendall, Gal, Cipolla: a learned weight of a term."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.policies.base import Weight


class Uncertainty(Weight):
    """Learn a term's weight as its homoscedastic certainty.

    exp(−s)·L + s/2, s = log σ², learned, initially 0.

    Paper: Kendall, Gal, Cipolla. CVPR 2018. arXiv:1705.07115, where a regression has ½·exp(−s)·L; here the term's own
    weight provides the ½.
    """

    paper = "Kendall, Gal, Cipolla. CVPR 2018. arXiv:1705.07115"
    needs_task_loss = False

    def __post_init__(self) -> None:
        self.s = nn.Parameter(torch.zeros(()))

    def forward(self, value: Tensor, task_loss: Tensor) -> Tensor:
        return (-self.s).exp() * value + self.s / 2
