"""Xu, Liu: two distorted views of a sample agree."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.utils.options import NonNegative, Temperature


class DDGSD(Response):
    r"""Match a model's predictions for two distorted views of a sample, and the means of the views' embeddings.

    L = T²·KL(sg q ‖ p) + T²·KL(sg p ‖ q) + w·‖mean_b f − mean_b g‖²: the parts "response" and "feature", with
    p, q = softmax(z/T) of either view, f, g their embeddings; sg: without gradient.

    Shapes: student, [logits (B, C), embedding (B, D)] of one view; teacher, likewise of the other view, from the same
    model, to which gradient flows from both; the parts are (B,) and ().
    Paper: Xu, Liu. Data-distortion guided self-distillation for deep neural networks. AAAI 2019, eq. 5–8. A published
    code also averages over the embedding's dimensions (`global_mean=True`), with w = 5·10⁻⁴ and T = 3.
    Raises: ConfigError if the temperature isn't above 0, or the two differ in shape.
    """

    name = "ddgsd"
    paper = "Xu, Liu. AAAI 2019"
    list_inputs = ("student", "teacher")

    temperature: Temperature = 3.0
    feature_weight: NonNegative = 5e-4
    global_mean: bool = False

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> dict[str, Tensor]:
        (p, f), (q, g) = student, teacher
        require_same_shape(self, p, q)
        response = softened_kl(p, q.detach(), self.temperature) + softened_kl(q, p.detach(), self.temperature)
        gap = f.mean() - g.mean() if self.global_mean else f.mean(0) - g.mean(0)
        return {"response": response, "feature": self.feature_weight * gap.pow(2).sum()}

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Return two views' logits and embeddings."""
        return [torch.randn(6, 5), torch.randn(6, 4)], [torch.randn(6, 5), torch.randn(6, 4)], {}
