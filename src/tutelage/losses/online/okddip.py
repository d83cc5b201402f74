"""Chen, Mei, Wang, Feng, Chen: diverse peers, and a leader."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.losses.functional.stacked_logits import ModelLogits, ce_of_each, softened_kls, stack_logits
from tutelage.utils.options import Fraction, NonNegative, Temperature


class OKDDip(Response):
    r"""Train all on the labels; each auxiliary peer matches its attended mix of peers, and the leader their mean.

    A = softmax(Q Kᵀ) along its rows (M, M), for each sample;  x_i = Σ_j A_ij z_j, logits;
    L = CE(z, y) + Σ_i CE(z_i, y) + α·(Σ_i T²·KL(softmax(x_i/T) + ε ‖ softmax(z_i/T)) +
    T²·KL(softmax(mean_j z_j/T) + ε ‖ softmax(z/T))): the parts "truth" and "group". Gradient flows into the
    targets too, through which Q and K learn.

    Shapes: student the leader's logits (B, C); teacher the M peers', stacked (M, B, C) or a list, trained too;
    query, key (B, M, D), linear projections of the peers' pooled features; targets (B,) int64; mutual_ramp: a factor
    of α; each part is (B,).
    Paper: Chen, Mei, Wang, Feng, Chen. AAAI 2020. arXiv:1912.00350; the authors' code has ε = 10⁻⁷ and raises α over 80
    epochs.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    name = "okddip"
    paper = "Chen, Mei, Wang, Feng, Chen. AAAI 2020. arXiv:1912.00350"
    list_inputs = ("teacher",)
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    temperature: Temperature = 3.0
    alpha: NonNegative = 1.0
    eps: Fraction = 0.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        peers = [torch.randn(6, 5) for _ in range(3)]
        inputs = {"query": torch.randn(6, 3, 4), "key": torch.randn(6, 3, 4), "targets": torch.randint(5, (6,))}
        return torch.randn(6, 5), peers, inputs

    def forward(
        self,
        student: Tensor,
        teacher: ModelLogits,
        *,
        query: Tensor,
        key: Tensor,
        targets: Tensor,
        mutual_ramp: float = 1.0,
    ) -> dict[str, Tensor]:
        peers = stack_logits(teacher)
        require_same_shape(self, student, peers[0])
        attention = (query @ key.mT).softmax(2)
        mixed = torch.einsum("bij,jbc->ibc", attention, peers)
        group = softened_kls(peers, mixed, self.temperature, self.eps).sum(0)
        group = group + softened_kl(student, peers.mean(0), self.temperature, self.eps)
        return {
            "truth": ce_of_each(torch.cat([student[None], peers]), targets).sum(0),
            "group": mutual_ramp * self.alpha * group,
        }
