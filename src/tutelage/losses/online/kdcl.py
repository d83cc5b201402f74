"""Guo, Wang, Wu, Yu, Liang, Hu, Luo: peers learn from their best answer."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response
from tutelage.losses.functional.stacked_logits import Several, every_ce, softened_kls, stacked
from tutelage.losses.functional.target_class import is_target
from tutelage.utils.options import NonNegative, Temperature

Ensemble = Literal["minlogit", "naive", "linear", "general"]

SWEEPS, HALVINGS = 6, 24
"""Of the search for the mix of smallest cross-entropy: over all pairs of peers, and of each pair's interval."""


class KDCL(Response):
    r"""All peers at once: the truth, and each peer matches the group's best logits.

    L = Σ_m CE(z_m, y) + λ·T²·Σ_m KL(softmax(z*/T) ‖ softmax(z_m/T)), z* without gradient: the parts "truth" and
    "ensemble". variant "minlogit": z*_c = min_m (z_m,c − z_m,y); "naive": z* is, sample by sample, that of the
    peer with the smallest cross-entropy; "linear": the mix Σ_m w_m z_m, w ≥ 0, Σ w = 1, with the smallest;
    "general": the mix with the weights of the smallest error on samples held out, w = C⁻¹1/(1ᵀC⁻¹1), C_ij the mean
    product of the peers' errors softmax(z) − y (`generalisation_weights`).

    Shapes: student the M peers' logits, stacked (M, B, C, …) or a list; no teacher; targets (B, …) int64; for
    "general" peer_weights (M,); each part is (B, …), summed over peers.
    Paper: Guo, Wang, Wu, Yu, Liang, Hu, Luo. CVPR 2020. No published numbers were compared for the last two variants.
    Raises: ConfigError if the temperature isn't above 0, the variant is none of these, or shapes differ.
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
        self, student: Several, teacher: None = None, *, targets: Tensor, peer_weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        peers = stacked(student)
        truth = every_ce(peers, targets)
        best = self.best(peers.detach(), truth.detach(), targets, peer_weights)
        ensemble = softened_kls(peers, best, self.temperature).sum(0)
        return {"truth": truth.sum(0), "ensemble": self.strength * ensemble}

    def best(self, peers: Tensor, errors: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """z*, (B, C, …)."""
        if self.variant == "naive":
            chosen = errors.argmin(0).unsqueeze(0).unsqueeze(2).expand_as(peers[:1])
            return peers.gather(0, chosen)[0]
        if self.variant == "linear":
            return linear_mix(peers, targets)
        if self.variant == "general":
            if weights is None:
                raise ConfigError("KDCL(variant='general') needs peer_weights, which scheme=together measures.")
            return torch.einsum("m,m...->...", weights.to(peers.dtype), peers)
        true = is_target(peers[0], targets)
        return (peers - (peers * true).sum(2, keepdim=True)).amin(0)


def linear_mix(peers: Tensor, targets: Tensor) -> Tensor:
    """Σ_m w_m z_m of the smallest cross-entropy by sample, w on the simplex; (M, B, C, …) → (B, C, …).

    The search is convex: two weights at a time share what they have anew, by bisection.
    """
    true = is_target(peers[0], targets)
    margins = peers - (peers * true).sum(2, keepdim=True)  # the truth's logit is 0 in each
    weights = torch.full_like(peers[:, :, :1], 1 / len(peers))
    for _ in range(SWEEPS if len(peers) > 2 else 1):
        for i, j in combinations(range(len(peers)), 2):
            weights = _shared_anew(weights, margins, i, j)
    return (weights * peers).sum(0)


def _shared_anew(weights: Tensor, margins: Tensor, i: int, j: int) -> Tensor:
    """The weights, with the best division between two of them."""
    both, apart = weights[i] + weights[j], margins[i] - margins[j]
    without = (weights * margins).sum(0) - weights[i] * apart
    least, most = torch.zeros_like(both), both
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        rises = ((without + middle * apart).softmax(1) * apart).sum(1, keepdim=True) > 0
        least, most = torch.where(rises, least, middle), torch.where(rises, middle, most)
    weights = weights.clone()
    weights[i], weights[j] = least, both - least
    return weights


def generalisation_weights(errors: Tensor) -> Tensor:
    """w = C⁻¹1/(1ᵀC⁻¹1), C = E Eᵀ/N, of the peers' errors E (M, N): the mix of least mean square error, (M,).

    Where C can't be inverted (peers that err alike), the shortest such w. They add up to 1, and may be negative.
    """
    covariance = errors.double() @ errors.double().T / errors.shape[1]
    weights = torch.linalg.pinv(covariance, hermitian=True, rtol=1e-9).sum(1)
    return (weights / weights.sum()).float()
