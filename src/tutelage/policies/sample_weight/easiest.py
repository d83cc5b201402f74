"""The easiest samples of a batch, in a fraction that grows to 1."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.policies.base import SampleWeight
from tutelage.utils.options import Epochs, FractionAboveZero


class Easiest(SampleWeight):
    r"""Keep the samples that are easiest for the teacher, in a fraction that grows during training: a curriculum.

    r = start + (1 − start)·min(epoch/epochs, 1);  w = 1/r for the ⌈r·B⌉ samples or positions with the least CE(t, y),
    0 for the rest.

    Shapes: teacher (B, C, …) logits, targets (B, …) int64; returns (B, …).
    Paper: Bengio, Louradour, Collobert, Weston. ICML 2009, the idea; the measure of difficulty and the pace are
    Tutelage's.
    Raises: ConfigError if `start` isn't in (0, 1] or `epochs` isn't above 0.
    """

    paper = "Bengio, Louradour, Collobert, Weston. ICML 2009"

    start: FractionAboveZero = 0.5
    epochs: Epochs = 10.0

    @torch.no_grad()
    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor, epoch: float = 0.0) -> Tensor:
        fraction = self.start + (1 - self.start) * min(epoch / self.epochs, 1.0)
        difficulty = F.cross_entropy(teacher, targets, reduction="none")
        count = math.ceil(fraction * difficulty.numel())
        rank = difficulty.flatten().argsort(stable=True).argsort()
        return (rank < count).to(difficulty).reshape_as(difficulty) / fraction
