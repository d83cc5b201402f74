"""Guo, Wang, Wu, Yu, Liang, Hu, Luo: peers learn from their best logits."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response
from tutelage.losses.functional.stacked_logits import ModelLogits, ce_of_each, softened_kls, stack_logits
from tutelage.losses.functional.target_class import target_mask
from tutelage.utils.options import NonNegative, Temperature

Ensemble = Literal["minlogit", "naive", "linear", "general"]

SWEEPS, HALVINGS = 6, 24
"""The search for the best linear mix: sweeps over all pairs of peers, and bisections of each pair's interval."""


class KDCL(Response):
    r"""Train all peers at once: on the labels, and each to match the group's best logits.

    L = Σ_m CE(z_m, y) + λ·T²·Σ_m KL(softmax(z*/T) ‖ softmax(z_m/T)), z* without gradient: the parts "truth" and
    "ensemble". variant "minlogit": z*_c = min_m (z_m,c − z_m,y); "naive": z* is, for each sample, that of the
    peer with the smallest cross-entropy; "linear": the mix Σ_m w_m z_m, w ≥ 0, Σ w = 1, with the smallest;
    "general": the mix with the weights of the smallest error on held-out samples, w = C⁻¹1/(1ᵀC⁻¹1), C_ij the mean
    product of the peers' errors softmax(z) − y (`generalisation_weights`).

    Shapes: student the M peers' logits, stacked (M, B, C, …) or a list; no teacher; targets (B, …) int64; for
    "general" peer_weights (M,); each part is (B, …), summed over peers.
    Paper: Guo, Wang, Wu, Yu, Liang, Hu, Luo. CVPR 2020. No published numbers were compared for the last two variants.
    Raises: ConfigError if the temperature isn't above 0, the variant is unknown, or shapes differ.
    """

    paper = "Guo, Wang, Wu, Yu, Liang, Hu, Luo. CVPR 2020"
    list_inputs = ("student",)
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    variant: Ensemble = "minlogit"
    temperature: Temperature = 2.0
    strength: NonNegative = 1.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return [torch.randn(6, 5) for _ in range(3)], None, {"targets": torch.randint(5, (6,))}

    def forward(
        self, student: ModelLogits, teacher: None = None, *, targets: Tensor, peer_weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        peers = stack_logits(student)
        task_losses = ce_of_each(peers, targets)
        best = self.best(peers.detach(), task_losses.detach(), targets, peer_weights)
        ensemble = softened_kls(peers, best, self.temperature).sum(0)
        return {"truth": task_losses.sum(0), "ensemble": self.strength * ensemble}

    def best(self, peers: Tensor, errors: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Return z*, (B, C, …)."""
        if self.variant == "naive":
            index = errors.argmin(0).unsqueeze(0).unsqueeze(2).expand_as(peers[:1])
            return peers.gather(0, index)[0]
        if self.variant == "linear":
            return linear_mix(peers, targets)
        if self.variant == "general":
            if weights is None:
                raise ConfigError("KDCL(variant='general') requires peer_weights, which scheme=together measures.")
            return torch.einsum("m,m...->...", weights.to(peers.dtype), peers)
        true = target_mask(peers[0], targets)
        return (peers - (peers * true).sum(2, keepdim=True)).amin(0)


def linear_mix(peers: Tensor, targets: Tensor) -> Tensor:
    """Return Σ_m w_m z_m with the smallest cross-entropy of each sample, w on the simplex; (M, B, C, …) → (B, C, …).

    The problem is convex: the sum of two weights at a time is redistributed between them, by bisection.
    """
    true = target_mask(peers[0], targets)
    margins = peers - (peers * true).sum(2, keepdim=True)  # the true class's logit becomes 0 for each peer
    weights = torch.full_like(peers[:, :, :1], 1 / len(peers))
    for _ in range(SWEEPS if len(peers) > 2 else 1):
        for i, j in combinations(range(len(peers)), 2):
            weights = _rebalanced(weights, margins, i, j)
    return (weights * peers).sum(0)


def _rebalanced(weights: Tensor, margins: Tensor, i: int, j: int) -> Tensor:
    """Return the weights with the sum of two of them redistributed optimally."""
    total, difference = weights[i] + weights[j], margins[i] - margins[j]
    mix = (weights * margins).sum(0) - weights[i] * difference  # with weight i at 0
    lower, upper = torch.zeros_like(total), total
    for _ in range(HALVINGS):
        middle = (lower + upper) / 2
        rises = ((mix + middle * difference).softmax(1) * difference).sum(1, keepdim=True) > 0
        lower, upper = torch.where(rises, lower, middle), torch.where(rises, middle, upper)
    weights = weights.clone()
    weights[i], weights[j] = lower, total - lower
    return weights


def generalisation_weights(errors: Tensor) -> Tensor:
    """Return w = C⁻¹1/(1ᵀC⁻¹1), (M,), C = E Eᵀ/N: the mix of least mean square error for the peers' errors E (M, N).

    If C is singular (peers with equal errors), w is the solution of least norm. Weights sum to 1 and may be negative.
    """
    covariance = errors.double() @ errors.double().T / errors.shape[1]
    weights = torch.linalg.pinv(covariance, hermitian=True, rtol=1e-9).sum(1)
    return (weights / weights.sum()).float()
