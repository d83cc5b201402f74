"""Hu, Wu, Li, Ma, Chen, Wang, Yan, Liu: a learned balance of teacher and labels for each sample."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.policies.sample_weight.geometry import Geometry
from tutelage.utils.options import Temperature, Width


class TGeoKD(Response):
    r"""Balance teacher and labels in each sample by a learned function of the predictions and the labels.

    L = a·τ²·KL(softmax(t/τ) ‖ softmax(s/τ)) + (1 − a)·CE(s, y): the parts "teacher" and "truth"; a as in the policy
    `Geometry`, which works with other losses too.

    Shapes: student, teacher (B, C, …) logits, targets (B, …) int64. Each part is (B, …).
    Paper: Hu, Wu, Li, Ma, Chen, Wang, Yan, Liu. ICLR 2024. arXiv:2312.15112, which trains a's MLP on held-out data,
    through a step of the student, as `scheme=bilevel` and the recipe of this name do. In other schemes the MLP
    minimises this loss itself, so that a favours the smaller term.
    No published numbers were compared.
    Raises: ConfigError if the temperature or `hidden` isn't above 0, shapes differ, or targets aren't class numbers.
    """

    name = "tgeo_kd"
    paper = "Hu, Wu, Li, Ma, Chen, Wang, Yan, Liu. ICLR 2024. arXiv:2312.15112"
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    temperature: Temperature = 4.0
    hidden: Width = 64

    def __post_init__(self) -> None:
        self.ratio = Geometry(self.hidden)

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.ratio.build(student, teacher)

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        ratio = self.ratio(student, teacher, targets=targets)
        return {
            "teacher": ratio * softened_kl(student, teacher, self.temperature),
            "truth": (1 - ratio) * F.cross_entropy(student, targets, reduction="none"),
        }
