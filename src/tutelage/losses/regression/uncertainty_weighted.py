"""The mean estimate of several teachers, trusted by how much they agree."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.utils.options import Positive


class UncertaintyWeighted(Response):
    r"""Match the mean estimate of several teachers, by less the more they disagree.

    L = (s − t̄)² / (1 + σ²/τ²), t̄ and σ² the mean and the variance over the teachers: the Gaussian likelihood's
    weighting by inverse variance (Kendall, Gal), with τ² as the noise on which all agree.

    Shapes: student (B, T, …) estimates, teacher a list of such; returns (B, T, …). Estimates are in units of the
    target's standard deviation, and so is τ.
    Paper: weighting by Kendall, Gal. NIPS 2017. arXiv:1703.04977. No published numbers were compared.
    Raises: ConfigError if τ isn't above 0, or the shapes differ.
    """

    name = "uncertainty_weighted"
    paper = "Kendall, Gal. NIPS 2017. arXiv:1703.04977 (weighting by inverse variance)"
    response_kinds = ("values",)
    list_inputs = ("teacher",)
    maskable = False

    tau: Positive = 0.2

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 4), [torch.randn(6, 4) for _ in range(3)], {}

    def forward(self, student: Tensor, teacher: list[Tensor]) -> Tensor:
        estimates = torch.stack(teacher)
        require_same_shape(self, student, estimates[0])
        variance, mean = torch.var_mean(estimates, dim=0, correction=0)
        return (student - mean).square() / (1 + variance / self.tau**2)
