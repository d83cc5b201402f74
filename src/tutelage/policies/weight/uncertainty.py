"""Kendall, Gal, Cipolla: a term's weight is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.policies.base import Weight


class Uncertainty(Weight):
    """Learns a term's weight as the certainty of what it says.

    exp(−s)·L + s/2, s = log σ² learned, 0 at first.

    Paper: Kendall, Gal, Cipolla. CVPR 2018. arXiv:1705.07115, where a regression has ½·exp(−s)·L: the ½ is the weight's
    matter.
    """

    paper = "Kendall, Gal, Cipolla. CVPR 2018. arXiv:1705.07115"
    compares = False

    def __post_init__(self) -> None:
        self.s = nn.Parameter(torch.zeros(()))

    def forward(self, value: Tensor, truth: Tensor) -> Tensor:
        return (-self.s).exp() * value + self.s / 2
