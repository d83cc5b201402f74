"""Lv, Yang, Li: the cost of transporting one prediction to the other."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.pairwise import cosines
from tutelage.losses.functional.target_class import log_among_others, target_mask
from tutelage.utils.options import Fraction, Iterations, NonNegative, Positive, Temperature


class WKDL(Response):
    r"""Match the true class, weighted by its teacher probability, and the other classes, by optimal transport.

    "target": −softmax(t)_y·log softmax(s)_y;
    "transport": γ·Σ_ij π_ij·c_ij over classes other than y. p̂ = softmax(z/T) among those; π = diag(u)·K·diag(v),
    K = exp(−c/η), after `iterations` rounds of v ← p̂_t/(Kᵀu + ε), u ← p̂_s/(K·v + ε) from u = 1/(C − 1) (Sinkhorn;
    η the entropy's weight), with the gradient through the rounds; c = 1 − exp(−κ·d) + ε, or d + ε if κ (sharpen) is 0;
    d_ij = 1 − the cosine of the teacher's classifier's weights for i and j, or 0 if that is negative.

    Shapes: student, teacher (B, C, …) logits, targets (B, …) int64, head: the teacher's classifier's weight (C, D) and
    bias, or category_cost (C, C) in place of d, for instance 1 − CKA of the categories' features; parts are (B, …).
    Paper: Lv, Yang, Li. NeurIPS 2024. arXiv:2412.08139 (WKD-L), which uses CKA; cosines, κ, η, ε and the rounds are
    options and defaults of the authors' code. T and γ need tuning; the defaults are starting points.
    Raises: ConfigError if a number isn't in its range, shapes differ, or neither a head nor costs that fit the classes
    are passed.
    """

    name = "wkd_l"
    paper = "Lv, Yang, Li. NeurIPS 2024. arXiv:2412.08139"
    zero_at_equal = False
    ignores = ("shift of logits",)

    temperature: Temperature = 2.0
    gamma: NonNegative = 30.0
    sharpen: NonNegative = 1.0
    entropy: Positive = 0.05
    iterations: Iterations = 10
    eps: Fraction = 1e-8

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        head = torch.randn(5, 3), torch.randn(5)
        return torch.randn(6, 5), torch.randn(6, 5), {"targets": torch.randint(5, (6,)), "head": head}

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        targets: Tensor,
        head: tuple[Tensor, Tensor | None] | None = None,
        category_cost: Tensor | None = None,
    ) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        true = target_mask(student, targets)
        weighted = F.log_softmax(teacher, dim=1).exp() * F.log_softmax(student, dim=1)
        s, t = (
            log_among_others(z / self.temperature, true).exp().masked_fill(true, 0).movedim(1, -1)
            for z in (student, teacher)
        )
        cost = self.cost(student, head, category_cost)
        return {
            "target": -weighted.masked_fill(~true, 0).sum(1),
            "transport": self.gamma * self.transport(s, t, cost, ~true.movedim(1, -1)),
        }

    def cost(self, logits: Tensor, head: tuple[Tensor, Tensor | None] | None, distance: Tensor | None) -> Tensor:
        """Return the costs c, (C, C)."""
        if distance is None and head is not None:
            distance = 1 - cosines(head[0])
        if distance is None or distance.shape != (logits.shape[1], logits.shape[1]):
            actual = "none" if distance is None else f"shape {tuple(distance.shape)}"
            raise ConfigError(
                f"WKDL: got {actual} for the costs, expected (C, C) with {logits.shape[1]} classes; use a teacher with "
                "a known classifier (head), or pass category_cost (C, C)."
            )
        distance = distance.to(logits).clamp_min(0)
        return (1 - torch.exp(-self.sharpen * distance) if self.sharpen else distance) + self.eps

    def transport(self, p: Tensor, q: Tensor, cost: Tensor, allowed: Tensor) -> Tensor:
        """Return Σ_ij π_ij·c_ij of the plan between distributions (…, C) over `allowed` classes, for costs (C, C)."""
        kernel = torch.exp(-cost / self.entropy)
        u = allowed.to(p) / allowed.sum(-1, keepdim=True)
        v = torch.zeros_like(q)
        for _ in range(self.iterations):
            v = q / (u @ kernel + self.eps)
            u = p / (v @ kernel.mT + self.eps)
        return (u * (v @ (kernel * cost).mT)).sum(-1)
