"""Wang, Zhou, Jiang, Bai, Xu: intra-class feature variation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Feature
from tutelage.losses.functional.feature_maps import labels_at, pool_to_smaller
from tutelage.utils.options import Width


class IFVD(Feature):
    r"""Match the similarity of each position to the mean feature of its class in its image.

    p_k = mean of f over the image's positions of class k, m_i = cos(f_i, p_y(i));  L = (m(s)_i − m(t)_i)².

    Shapes: student (B, C, H, W), teacher (B, C', H', W'), the larger average-pooled to the smaller; targets (B, …)
    int64, resized to the map by nearest neighbour. Returns (B, H, W). Positions whose class isn't in
    0 … num_classes − 1 are their own prototype, so their loss is 0.
    Paper: Wang, Zhou, Jiang, Bai, Xu. ECCV 2020. Weight 200 as in the authors' code.
    Raises: ConfigError if num_classes isn't above 0, or the targets aren't maps of class numbers.
    """

    paper = "Wang, Zhou, Jiang, Bai, Xu. ECCV 2020"
    compares = "last"
    ignores = ("scale of each sample", "rotation", "swapped sides")
    default_weight = 200.0

    num_classes: Width = 19

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5, 4, 4), torch.randn(6, 7, 4, 4), {"targets": torch.randint(3, (6, 8, 8))}

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> Tensor:
        s, t = pool_to_smaller(student, teacher)
        return (self.similarity(s, targets) - self.similarity(t, targets)).pow(2)

    def similarity(self, feature: Tensor, targets: Tensor) -> Tensor:
        """Return the cosine of each position with its prototype, (B, …)."""
        labels = labels_at(feature, targets)
        known = (labels >= 0) & (labels < self.num_classes)
        member = F.one_hot(labels.where(known, self.num_classes), self.num_classes + 1)[..., :-1]
        member = member.flatten(1, -2).to(feature.dtype)  # (B, N, K)
        means = feature.flatten(2) @ member / (member.sum(1, keepdim=True) + 1e-6)
        prototype = (means @ member.mT).unflatten(2, feature.shape[2:])
        return F.cosine_similarity(feature, prototype.where(known[:, None], feature), dim=1)
