"""Yang, Xie, Zong, Feng, Niu, Sugiyama, Huang: distillation label by label."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.utils.options import Temperature


class BKD(Response):
    r"""Match the teacher's softened probability of each label, as a decision for or against it.

    L = T² · [p·log(p/q) + (1 − p)·log((1 − p)/(1 − q))], p = σ(t/T), q = σ(s/T), one value per label.

    Shapes: student, teacher (B, C, …) logits; returns (B, C, …).
    Paper: Yang, Xie, Zong, Feng, Niu, Sugiyama, Huang. ICCV 2023. arXiv:2308.06453 (MLD, the logits' part of L2D),
    which has T = 1. Its published code clamps probabilities to 10⁻⁸, and adds ten times this, summed over labels and
    averaged over samples, to the task loss, summed over both; here both are means at equal weights, and logarithms are
    computed from logits. No published numbers were compared.
    Raises: ConfigError if the temperature isn't above 0, or the shapes differ.
    """

    paper = "Yang, Xie, Zong, Feng, Niu, Sugiyama, Huang. ICCV 2023. arXiv:2308.06453"
    response_kinds = ("labels", "detections")

    temperature: Temperature = 1.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        s, t = student / self.temperature, teacher / self.temperature
        present, absent = t.sigmoid(), (-t).sigmoid()
        for_it = present * (F.logsigmoid(t) - F.logsigmoid(s))
        against_it = absent * (F.logsigmoid(-t) - F.logsigmoid(-s))
        return self.temperature**2 * (for_it + against_it)
