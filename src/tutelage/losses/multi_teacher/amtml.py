"""Liu, Zhang, Wang: which teacher is relevant to which sample is learned with the student."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.losses.base import Response
from tutelage.losses.divergence import softened_kl
from tutelage.losses.several import Several, stacked
from tutelage.options import Temperature


class AMTML(Response):
    r"""Match several teachers' class probabilities, mixed sample by sample in shares that are learned with the student.

    w_m = softmax_m(v · (θ_m ∘ h)), θ_m a learned vector for each teacher, v a learned vector, h the sample;
    q = Σ_m w_m · softmax(t_m/T);  L = T² · KL(q ‖ softmax(s/T)), with the gradient of q's shares.

    Shapes: student (B, C, …) logits; teacher M of them, stacked (M, B, C, …) or a list; returns (B, …). θ (M, C) begins
    near 0 and v (C,) at 1, so that the shares begin nearly equal.
    Paper: Liu, Zhang, Wang. Neurocomputing 2020. arXiv:2103.04062, without its angles and hints; its h is the student's
    last map, pooled, here it is softmax(s) without gradient. No published numbers were compared.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    name = "amtml"
    paper = "Liu, Zhang, Wang. Neurocomputing 2020. arXiv:2103.04062"
    lists = ("teacher",)
    ignores = ("shift of logits",)

    temperature: Temperature = 4.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), [torch.randn(6, 5) for _ in range(3)], {}

    def build(self, student: Tensor, teacher: Several, samples: int) -> None:
        classes = student.shape[1]
        self.theta = nn.Parameter(0.01 * torch.randn(len(teacher), classes).to(student))
        self.v = nn.Parameter(torch.ones(classes).to(student))

    def shares(self, student: Tensor) -> Tensor:
        """w, (M, B, …)."""
        h = student.detach().softmax(1)
        return torch.einsum("mc,c,bc...->mb...", self.theta, self.v, h).softmax(0)

    def forward(self, student: Tensor, teacher: Several) -> Tensor:
        teachers = stacked(teacher)
        log_p = (teachers / self.temperature).log_softmax(2)
        mixed = (self.shares(student).log().unsqueeze(2) + log_p).logsumexp(0)
        return softened_kl(student, self.temperature * mixed, self.temperature)
