"""Guo, Yan, Li, Lin: class activation maps."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Feature, require_same_shape
from tutelage.nn.maps import adaptive_avg_pool, apply_pointwise
from tutelage.utils.options import Width


class CATKD(Feature):
    r"""Match the class activation maps, which locate each class's evidence in the last feature map.

    CAM_k = pool_r(Σ_c w_kc · f_c), w the side's classifier without its bias;  L = (CAM(s) − CAM(t))², one value per
    class and cell.

    resolution: r, maps are average-pooled to r × r. normalised: divide each pooled map by its length (the paper's CAT,
    which transfers nothing else); CAT-KD doesn't.
    Shapes: student (B, C, H, W), teacher (B, C', H', W'), the input of the pooling before the classifier. head: weight
    (K, C') and bias (K,) of the teacher's classifier, student_head: (K, C) and (K,) of the student's, which this
    loss trains too. Returns (B, K, r, r).
    Paper: Guo, Yan, Li, Lin. Class attention transfer based knowledge distillation. CVPR 2023. Weight 0.7, as
    the authors use for a ResNet-56 and a ResNet-20 (up to 15 for wider ones).
    Raises: ConfigError if the resolution isn't above 0 or the classes differ in number.
    """

    name = "cat_kd"
    paper = "Guo, Yan, Li, Lin. CVPR 2023"
    compares = "last"
    default_weight = 0.7

    resolution: Width = 2
    normalised: bool = False

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        head = torch.randn(7, 5), torch.randn(7)
        return torch.randn(6, 5, 4, 4), torch.randn(6, 5, 4, 4), {"head": head, "student_head": head}

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        head: tuple[Tensor, Tensor | None],
        student_head: tuple[Tensor, Tensor | None],
    ) -> Tensor:
        s, t = self.activation(student, student_head), self.activation(teacher, head)
        require_same_shape(self, s, t)
        return (s - t).pow(2)

    def activation(self, feature: Tensor, head: tuple[Tensor, Tensor | None]) -> Tensor:
        """Return the class activation maps, (B, C, H, W) → (B, K, r, r); pooling first is equivalent, and cheaper."""
        pooled = adaptive_avg_pool(feature, self.resolution)
        maps = apply_pointwise(pooled, head[0])
        return F.normalize(maps.flatten(2), dim=2).view_as(maps) if self.normalised else maps
