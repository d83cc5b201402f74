"""Liu, Zhang, Wang: per-sample weights of the teachers, learned with the student."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.losses.base import Response
from tutelage.losses.functional.divergence import softened_kl
from tutelage.losses.functional.stacked_logits import ModelLogits, stack_logits
from tutelage.utils.options import Temperature


class AMTML(Response):
    r"""Match several teachers' class probabilities, mixed with learned weights for each sample.

    w_m = softmax_m(v · (θ_m ∘ h)), θ_m a learned vector for each teacher, v a learned vector, h the student's last map,
    max-pooled per channel;  q = Σ_m w_m · softmax(t_m/T);  L = T² · KL(q ‖ softmax(s/T)) / C, with gradient to
    w, and through it to h.

    Shapes: student a list of its logits (B, C) and h (B, D), as scheme=last_feature gives them; teacher M logits,
    stacked (M, B, C) or a list; returns (B,). θ (M, D) and v (D, 1) are initialised from a normal distribution.
    Paper: Liu, Zhang, Wang. Neurocomputing 2020. arXiv:2103.04062, without its angles and hints. The mean over classes,
    T = 5 and the weights, 2·0.7 of this alongside 0.3 of the task loss, are as in the authors' code.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    name = "amtml"
    paper = "Liu, Zhang, Wang. Neurocomputing 2020. arXiv:2103.04062"
    list_inputs = ("student", "teacher")
    maskable = False
    default_weight = 1.4
    task_loss_weight = 0.3
    zero_at_equal = False

    temperature: Temperature = 5.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return [torch.randn(6, 5), torch.randn(6, 5)], [torch.randn(6, 5) for _ in range(2)], {}

    def build(self, student: list[Tensor], teacher: ModelLogits, samples: int) -> None:
        width = student[1].shape[1]
        self.theta = nn.Parameter(torch.randn(len(teacher), width).to(student[1]))
        self.v = nn.Parameter(torch.randn(width, 1).to(student[1]))

    def log_weights(self, feature: Tensor) -> Tensor:
        """Return log w, (M, B), from h."""
        return ((self.theta[:, None] * feature) @ self.v).squeeze(2).log_softmax(0)

    def forward(self, student: list[Tensor], teacher: ModelLogits) -> Tensor:
        logits, feature = student
        log_p = (stack_logits(teacher) / self.temperature).log_softmax(2)
        mixed = (self.log_weights(feature).unsqueeze(2) + log_p).logsumexp(0)
        return softened_kl(logits, self.temperature * mixed, self.temperature) / logits.shape[1]
