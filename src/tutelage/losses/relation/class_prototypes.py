"""Similarities of samples to the prototypes of their classes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Feature


class ClassPrototypes(Feature):
    r"""Match each sample's similarities to the prototypes of the classes that the batch has.

    p_k = mean of f/‖f‖ over the batch's samples of class k;  L_ik = (cos(s_i, p^s_k) − cos(t_i, p^t_k))², 0 for classes
    without a sample.

    Shapes: student (B, D), teacher (B, D'), maps and tokens averaged over positions; targets (B,) int64. Returns
    (B, K), K the number of classes in the batch.
    Paper: none states this formula that we could read. Prototypes after each layer teach in Xie et al. Ad Hoc Networks
    2025 (DTKD-IDS); Wang, Zhou, Jiang, Bai, Xu. ECCV 2020 (`ifvd`) compare pixels with the prototype of their own class
    in this way. No published numbers were compared.
    """

    name = "class_prototypes"
    paper = "none: after Wang, Zhou, Jiang, Bai, Xu. ECCV 2020, of samples in place of pixels"
    feature_format = "vector"
    ignores = ("scale of each sample", "rotation", "swapped sides")
    data_dependent_size = True
    compiles = False

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), torch.randn(6, 7), {"targets": torch.tensor([0, 0, 1, 1, 2, 2])}

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> Tensor:
        return (self.similarities(student, targets) - self.similarities(teacher, targets)).pow(2)

    def similarities(self, feature: Tensor, targets: Tensor) -> Tensor:
        """Return the cosine of each sample with each class's prototype, (B, K)."""
        unit = F.normalize(feature)
        member = F.one_hot(targets.unique(return_inverse=True)[1]).to(unit)
        prototypes = (member / member.sum(0)).mT @ unit
        return unit @ F.normalize(prototypes).mT
