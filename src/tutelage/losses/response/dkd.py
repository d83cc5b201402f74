"""Zhao, Cui, Song, Qiu, Liang: the true class and the other classes, with separate weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import kl
from tutelage.losses.functional.target_class import log_among_others, target_mask
from tutelage.utils.options import NonNegative, Temperature


class DKD(Response):
    r"""Match the probability of the true class, and the distribution over the other classes, with a weight for each.

    b = (p_y, 1 − p_y), p = softmax(z/T);  p̂ = softmax of z/T over the classes other than y.
    L = α·T²·KL(b_t ‖ b_s) + β·T²·KL(p̂_t ‖ p̂_s): the parts "target" and "non_target".

    Shapes: student, teacher (B, C, …) logits, targets (B, …) int64; each part is (B, …).
    Paper: Zhao, Cui, Song, Qiu, Liang. CVPR 2022. arXiv:2203.08679, eq. 7. The authors' training multiplies the loss by
    min(epoch / 20, 1) in 240 epochs, which runs do in proportion.
    Raises: ConfigError if the temperature isn't above 0, or the targets aren't class numbers.
    """

    paper = "Zhao, Cui, Song, Qiu, Liang. CVPR 2022. arXiv:2203.08679"
    warmup_share = 20 / 240
    ignores = ("shift of logits",)

    alpha: NonNegative = 1.0
    beta: NonNegative = 8.0
    temperature: Temperature = 4.0

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        true = target_mask(student, targets)
        s, t = student / self.temperature, teacher / self.temperature
        square = self.temperature**2
        return {
            "target": self.alpha * square * kl(log_binary(t, true), log_binary(s, true)),
            "non_target": self.beta * square * kl(log_among_others(t, true), log_among_others(s, true)),
        }


def log_binary(logits: Tensor, true: Tensor) -> Tensor:
    """Return log (p_y, 1 − p_y) along dim 1."""
    log_p = F.log_softmax(logits, dim=1)
    lowest = torch.finfo(logits.dtype).min
    return torch.stack([log_p.masked_fill(excluded, lowest).logsumexp(1) for excluded in (~true, true)], dim=1)
