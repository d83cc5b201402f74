"""Heo, Lee, Yun, Choi: activation boundaries."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.losses.base import Feature, require_equal_counts, require_same_shape
from tutelage.utils.options import Positive


class AB(Feature):
    r"""Put each neuron of the student on the teacher's side of its activation boundary.

    L = Σ_l 2^(l − n) · Σ_elements (s + m)²·[t ≤ 0, s > −m] + (s − m)²·[t > 0, s ≤ m], l = 1 … n; one value per sample.

    Shapes: student and teacher lists of maps (B, C, H, W), shallow to deep, of equal shape in pairs and from before the
    ReLU (a layer's input is named `LAYER:in`); returns (B,), sums over elements, hence the small weight.
    Paper: Heo, Lee, Yun, Choi. AAAI 2019. arXiv:1811.03233, eq. 5; layer weights and 3/1000 as in the authors' code.
    The paper trains it in a separate stage, before the task loss.
    Raises: ConfigError if margin isn't above 0, or if the lists or shapes differ.
    """

    paper = "Heo, Lee, Yun, Choi. AAAI 2019. arXiv:1811.03233"
    compares = "review"
    connector = "conv1x1"
    zero_at_equal = False
    default_weight = 0.003

    margin: Positive = 1.0

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        require_equal_counts(self, student, teacher)
        losses = [
            0.5**depth * self.boundary(s, t).flatten(1).sum(1)
            for depth, (s, t) in enumerate(zip(reversed(student), reversed(teacher), strict=True))
        ]
        return torch.stack(losses).sum(0)

    def boundary(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the squared distance of each element from the teacher's side of the boundary."""
        require_same_shape(self, student, teacher)
        if_active, if_inactive = (self.margin - student).clamp_min(0), (self.margin + student).clamp_min(0)
        return torch.where(teacher > 0, if_active, if_inactive).pow(2)
