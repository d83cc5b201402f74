"""Samples weighted by the teacher's certainty."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.policies.base import SampleWeight
from tutelage.utils.options import Temperature


class LowEntropy(SampleWeight):
    r"""Weigh samples by the teacher's certainty: more, the lower the entropy of its prediction.

    w = 1 − H(softmax(t/T))/log C, H the entropy; 1 for a one-hot prediction, 0 for a uniform one. Without gradient.
    right: the weight is also 0 where the teacher's top class isn't the true one.

    Shapes: teacher (B, C, …) logits, targets (B, …) int64 if `right`; returns (B, …) in [0, 1].
    Paper: Kwon, Na, Lee, Kim. ICASSP 2020 (EBKD) weighs teachers by their entropy; this policy weighs samples by it.
    """

    name = "sure"
    paper = "Kwon, Na, Lee, Kim. ICASSP 2020"

    temperature: Temperature = 1.0
    right: bool = False

    @torch.no_grad()
    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor | None = None) -> Tensor:
        log_p = F.log_softmax(teacher / self.temperature, dim=1)
        entropy = -(log_p.exp() * log_p).sum(1)
        weight = 1 - entropy / torch.tensor(teacher.shape[1]).log().to(entropy).clamp_min(1e-7)
        return weight * (teacher.argmax(1) == targets) if self.right and targets is not None else weight
