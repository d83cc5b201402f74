"""Huang, Wang: neuron selectivity transfer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Feature
from tutelage.losses.functional.feature_maps import pool_to_smaller


class NST(Feature):
    r"""Match the distribution of the channels' activation patterns (maximum mean discrepancy, polynomial kernel).

    Each channel is a vector over positions of unit length, k(x, y) = ⟨x, y⟩²;
    L = mean k(s, s) + mean k(t, t) − 2·mean k(s, t) over pairs of channels, one value per sample.

    Shapes: student (B, C, H, W), teacher (B, C', H', W'); the larger map is average-pooled to the smaller first.
    Returns (B,).
    Paper: Huang, Wang. 2017. arXiv:1707.01219, eq. 7. Weight 50 as in the paper.
    """

    paper = "Huang, Wang. 2017. arXiv:1707.01219"
    ignores = ("scale of each sample", "order of channels", "swapped sides")
    default_weight = 50.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        s, t = (F.normalize(x.flatten(2), dim=2) for x in pool_to_smaller(student, teacher))
        if s.shape[2] < min(s.shape[1], t.shape[1]):  # with few positions ‖sᵀs/C − tᵀt/C'‖² is the same and cheaper
            return (position_gram(s) - position_gram(t)).pow(2).sum((1, 2))
        return mean_kernel(s, s) + mean_kernel(t, t) - 2 * mean_kernel(s, t)


def mean_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean of ⟨x_c, y_c'⟩², (B, C, N), (B, C', N) → (B,)."""
    return (x @ y.mT).pow(2).mean((1, 2))


def position_gram(x: Tensor) -> Tensor:
    """Return the mean of x·xᵀ over channels, (B, C, N) → (B, N, N)."""
    return x.mT @ x / x.shape[1]
