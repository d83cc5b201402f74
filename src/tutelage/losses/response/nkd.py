"""Yang, Zeng, Li, Zhang, Yuan, Li: the non-target logits, normalised."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.target_class import log_among_others, target_mask
from tutelage.utils.options import NonNegative, Temperature


class NKD(Response):
    r"""Match the true class, weighted by its teacher probability, and the other classes, normalised among themselves.

    p = softmax(z), p̂ = softmax of z/T over the classes other than y.
    L = −p_t[y]·log p_s[y] − γ·T²·Σ_{c≠y} p̂_t,c · log p̂_s,c: the parts "target" and "non_target".

    Shapes: student, teacher (B, C, …) logits, targets (B, …) int64; each part is (B, …).
    Paper: Yang, Zeng, Li, Zhang, Yuan, Li. ICCV 2023. arXiv:2303.13005; both terms are cross-entropies, and the
    cross-entropy with the labels is added to them. γ = 1.5 and T = 1 are for ImageNet.
    Raises: ConfigError if the temperature isn't above 0, or the targets aren't class numbers.
    """

    paper = "Yang, Zeng, Li, Zhang, Yuan, Li. ICCV 2023. arXiv:2303.13005"
    zero_at_equal = False
    ignores = ("shift of logits",)

    gamma: NonNegative = 1.5
    temperature: Temperature = 1.0

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        true, square = target_mask(student, targets), self.temperature**2
        log_s, log_t = (log_among_others(z / self.temperature, true) for z in (student, teacher))
        target_probability = teacher.softmax(1).masked_fill(~true, 0)
        return {
            "target": -(target_probability * F.log_softmax(student, dim=1)).sum(1),
            "non_target": -self.gamma * square * (log_t.exp().masked_fill(true, 0) * log_s).sum(1),
        }
