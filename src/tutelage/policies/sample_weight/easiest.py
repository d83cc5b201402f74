"""A share of the batch that grows from the easy samples to all."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.policies.base import SampleWeight
from tutelage.utils.options import Epochs, ShareAboveZero


class Easiest(SampleWeight):
    r"""Only the share of samples that are easiest to the teacher, growing in training: a curriculum by difficulty.

    r = start + (1 − start)·min(epoch/epochs, 1);  w = 1/r for the ⌈r·B⌉ samples or positions with the least CE(t, y),
    0 for the others.

    Shapes: teacher (B, C, …) logits, targets (B, …) int64; returns (B, …).
    Paper: Bengio, Louradour, Collobert, Weston. ICML 2009, the idea; the measure and the pace are ours.
    Raises: ConfigError if `start` isn't in (0, 1] or `epochs` isn't above 0.
    """

    paper = "Bengio, Louradour, Collobert, Weston. ICML 2009"

    start: ShareAboveZero = 0.5
    epochs: Epochs = 10.0

    @torch.no_grad()
    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor, epoch: float = 0.0) -> Tensor:
        share = self.start + (1 - self.start) * min(epoch / self.epochs, 1.0)
        hard = F.cross_entropy(teacher, targets, reduction="none")
        counted = math.ceil(share * hard.numel())
        rank = hard.flatten().argsort(stable=True).argsort()
        return (rank < counted).to(hard).reshape_as(hard) / share
