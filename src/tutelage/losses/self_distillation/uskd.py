"""Yang, Zeng, Li, Zhang, Yuan, Li: the student's own soft labels, for the target class and the others separately."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Response
from tutelage.losses.functional.target_class import log_among_others
from tutelage.utils.options import NonNegative


class USKD(Response):
    r"""Smooth the true class by the student's own confidence, and the other classes by their ranks.

    p = softmax(z), q = softmax(W·f) of a weak classifier on a middle feature, y the true class of value v (1; two
    classes and their fractions if labels are mixed);
    "target": −α·Σ_y sg(v + p_y² − mean_batch p_y²)·log p_y, the weight 0 where v is;
    "non_target": −β·Σ_{c≠y} ẑ_c·log p̂_c, p̂ = softmax of z over the classes other than y, ẑ ∝ 1/rank_c with the rank
    among all classes by r = q/(1 − q_y) + p/(1 − p_y), normalised over c ≠ y;
    "weak": −μ·Σ_c (0.9·v_c + 0.1/C)·log q_c.

    Shapes: student, [logits (B, C), middle feature (B, D)], targets (B,) int64 or mixed labels (B, C); no teacher; the
    parts are (B,).
    Paper: Yang, Zeng, Li, Zhang, Yuan, Li. From knowledge distillation to self-knowledge distillation. ICCV 2023.
    arXiv:2303.13005, section 3.2. The authors' code ranks by log p in place of p (`log_rank=True`).
    """

    name = "uskd"
    paper = "Yang, Zeng, Li, Zhang, Yuan, Li. ICCV 2023. arXiv:2303.13005"
    list_inputs = ("student",)
    needs_teacher = False
    zero_at_equal = False
    task_loss_weight = 0.0

    alpha: NonNegative = 1.0
    beta: NonNegative = 0.1
    mu: NonNegative = 0.005
    log_rank: bool = False

    def build(self, student: list[Tensor], teacher: Any, samples: int) -> None:
        logits, feature = student
        self.fc = nn.Linear(feature.shape[1], logits.shape[1]).to(feature)

    def forward(self, student: list[Tensor], teacher: Any = None, *, targets: Tensor) -> dict[str, Tensor]:
        logits, feature = student
        log_p, log_q = F.log_softmax(logits, dim=1), F.log_softmax(self.fc(feature), dim=1)
        mixed = F.one_hot(targets, logits.shape[1]) if targets.dim() == 1 else targets
        value, y = mixed.to(logits).sort(dim=1, descending=True, stable=True)
        value, y = (x[:, : 1 if targets.dim() == 1 else 2] for x in (value, y))
        true = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, y, True)
        squares = log_p.detach().gather(1, y).exp() ** 2
        weight = (squares + value - squares.mean(0, keepdim=True)).masked_fill(value == 0, 0)
        smoothed = 0.9 * mixed.to(logits) + 0.1 / logits.shape[1]
        return {
            "target": -self.alpha * (weight * log_p.gather(1, y)).sum(1),
            "non_target": -self.beta
            * (self.zipf_weights(log_p, log_q, y, true) * log_among_others(logits, true)).sum(1),
            "weak": -self.mu * (smoothed * log_q).sum(1),
        }

    @torch.no_grad()
    def zipf_weights(self, log_p: Tensor, log_q: Tensor, y: Tensor, true: Tensor) -> Tensor:
        """Return ẑ, (B, C): Zipf's law over the classes other than y, and 0 for y."""
        q, p = log_q.exp(), log_p if self.log_rank else log_p.exp()
        scores = sum(x / (1 - x.gather(1, y).sum(1, keepdim=True) + 1e-6) for x in (q, p))
        rank = torch.as_tensor(scores).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        law = (1 / (rank + 1)).to(log_p).masked_fill(true, 0)
        return law / law.sum(1, keepdim=True)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Return logits and a middle feature."""
        return [torch.randn(6, 5), torch.randn(6, 4)], None, {"targets": torch.randint(5, (6,))}
