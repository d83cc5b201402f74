"""Ge, Choi, Zhang, Zhu, Zhao, Wang, Li: the batch as an ensemble."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.utils.options import FractionBelowOne, Temperature


class BAKE(Response):
    r"""Match the predictions for similar samples of the batch, propagated along their similarities.

    e = unit embeddings, A = softmax of E·Eᵀ by row without the diagonal; Q = (1−ω)·(I − ω·A)⁻¹·softmax(z/T);
    L = T²·KL(Q ‖ softmax(z/T)), Q without gradient.

    Shapes: student (B, C) logits, embedding (B, D) of the same samples; no teacher; returns (B,). The batch should hold
    several samples of each class.
    Paper: Ge, Choi, Zhang, Zhu, Zhao, Wang, Li. 2021. arXiv:2104.13298, eq. 6–8.
    Raises: ConfigError if the temperature isn't above 0, or ω not in [0, 1).
    """

    name = "bake"
    paper = "Ge, Choi, Zhang, Zhu, Zhao, Wang, Li. 2021. arXiv:2104.13298"
    maskable = False
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)

    temperature: Temperature = 4.0
    omega: FractionBelowOne = 0.5

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, embedding: Tensor) -> Tensor:
        log_p = F.log_softmax(student / self.temperature, dim=1)
        with torch.no_grad():
            targets = self.propagate(log_p.exp(), embedding)
        return F.kl_div(log_p, targets, reduction="none").sum(1) * self.temperature**2

    def propagate(self, p: Tensor, embedding: Tensor) -> Tensor:
        """Return Q, computed in at least float32, since the inverse has no half precision."""
        x = F.normalize(embedding, dim=1)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        eye = torch.eye(len(x), dtype=x.dtype, device=x.device)
        similarity = (x @ x.T - 1e9 * eye).softmax(1)
        return (1 - self.omega) * torch.linalg.solve(eye - self.omega * similarity, p.to(x.dtype)).to(p.dtype)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Return logits and embeddings."""
        return torch.randn(6, 5), None, {"embedding": torch.randn(6, 4)}
