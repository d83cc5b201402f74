"""Zhang, Zhu, Ye: poses from the teacher's heat maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Loss, require_same_shape
from tutelage.utils.options import Fraction


class FPD(Loss):
    r"""Match the teacher's heat maps of the joints, and the target heat maps.

    L = ½·α·w·(s − t)² + ½·(1 − α)·w·(s − y)²: the parts "teacher" and "truth", averaged over a joint's map; w: 1 if the
    joint is visible. weigh_maps: w multiplies the maps, as in the authors' code, and so counts squared.

    Shapes: student, teacher (B, J, H, W) heat maps, targets of the same shape, of a floating type, NaN where they
    aren't known, which counts as 0; joint_weight (B, J), default 1; each part is (B, J).
    Paper: Zhang, Zhu, Ye. Fast human pose estimation. CVPR 2019. arXiv:1811.05419, α = 0.5.
    Raises: ConfigError if α isn't in [0, 1], or shapes differ.
    """

    paper = "Zhang, Zhu, Ye. CVPR 2019. arXiv:1811.05419"
    compares = "response"
    response_kinds = ("values", "maps")
    zero_at_equal = False
    task_loss_weight = 0.0

    alpha: Fraction = 0.5
    weigh_maps: bool = False

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 3, 4, 4), torch.randn(6, 3, 4, 4), {"targets": torch.randn(6, 3, 4, 4)}

    def forward(
        self, student: Tensor, teacher: Tensor, *, targets: Tensor, joint_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        require_same_shape(self, student, targets)
        weight = torch.ones_like(student[:, :, 0, 0]) if joint_weight is None else joint_weight.to(student)
        require_same_shape(self, weight, student[:, :, 0, 0])
        known = ~targets.isnan()
        weight = weight.pow(2) if self.weigh_maps else weight
        return {
            "teacher": self.alpha / 2 * weight * torch.where(known, student - teacher, 0).pow(2).mean((2, 3)),
            "truth": (1 - self.alpha) / 2 * weight * torch.where(known, student - targets, 0).pow(2).mean((2, 3)),
        }
