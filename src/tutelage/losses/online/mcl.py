"""Yang, An, Cai, Xu: contrastive learning within and across peers."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Relation
from tutelage.losses.functional.divergence import softened_kl
from tutelage.utils.options import NonNegative, Temperature, Width


class MCL(Relation):
    r"""Contrast classes within each peer's embeddings and across peers, and match the peers' similarities.

    E_a = unit(W₂·relu(W₁·f_a)), with separate W for each peer a;  S_ab = E_a E_bᵀ / τ;
    h(S)_i = −mean_{p∈P_i} log(exp S_ip / Σ_{k≠i} exp S_ik), P_i the other samples of i's class;
    L = α·Σ_a h(S_aa) + γ·Σ_{a≠b} D(S_bb ‖ S_aa) + β·Σ_{a≠b} h(S_ab) + λ·Σ_{a≠b} D(S_ba ‖ S_ab): the parts "vcl",
    "soft_vcl", "icl" and "soft_icl";  D(t ‖ s)_i = T²·KL(softmax(t_i/T) ‖ softmax(s_i/T)), t without gradient.
    same_sample: across peers, i itself is included in P_i and among all k.

    Shapes: student the M ≥ 2 peers' embeddings f, a list of (B, D); no teacher; targets (B,) int64; each part is (B,).
    The batch should hold several samples of each class: h is 0 for the only sample of its class. W₁, W₂ are trained.
    Paper: Yang, An, Cai, Xu. AAAI 2022. arXiv:2104.12565; the sums and `same_sample` are those of the authors' code,
    which has τ = 0.07 for CIFAR.
    Raises: ConfigError if a temperature or the dimension isn't above 0, or if the targets aren't one per sample.
    """

    paper = "Yang, An, Cai, Xu. AAAI 2022. arXiv:2104.12565"
    list_inputs = ("student",)
    needs_teacher = False
    zero_at_equal = False

    tau: Temperature = 0.1
    temperature: Temperature = 3.0
    alpha: NonNegative = 0.1
    gamma: NonNegative = 1.0
    beta: NonNegative = 0.1
    lam: NonNegative = 1.0
    dim: Width = 128
    same_sample: bool = False

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return [torch.randn(6, 5) for _ in range(3)], None, {"targets": torch.randint(5, (6,))}

    def build(self, student: list[Tensor], teacher: None, samples: int) -> None:
        self.embed = nn.ModuleList(
            nn.Sequential(nn.Linear(f.shape[1], self.dim), nn.ReLU(), nn.Linear(self.dim, self.dim)).to(f)
            for f in student
        )

    def forward(self, student: list[Tensor], teacher: None = None, *, targets: Tensor) -> dict[str, Tensor]:
        if targets.shape != student[0].shape[:1]:
            raise ConfigError(
                f"MCL requires one class per sample, ({len(student[0])},), but the targets are {tuple(targets.shape)}: "
                "use it for classification."
            )
        peers = [F.normalize(embed(f), dim=1) for embed, f in zip(self.embed, student, strict=True)]
        similarities = {(a, b): x @ y.T / self.tau for a, x in enumerate(peers) for b, y in enumerate(peers)}
        pairs = list(permutations(range(len(peers)), 2))
        within = [contrast(similarities[a, a], targets) for a in range(len(peers))]
        across = [contrast(similarities[pair], targets, self.same_sample) for pair in pairs]
        soft_within = [softened_kl(similarities[a, a], similarities[b, b].detach(), self.temperature) for a, b in pairs]
        soft_across = [softened_kl(similarities[a, b], similarities[b, a].detach(), self.temperature) for a, b in pairs]
        weights = {"vcl": self.alpha, "soft_vcl": self.gamma, "icl": self.beta, "soft_icl": self.lam}
        sums = (torch.stack(values).sum(0) for values in (within, soft_within, across, soft_across))
        return {name: weight * value for (name, weight), value in zip(weights.items(), sums, strict=True)}


def contrast(similarities: Tensor, targets: Tensor, same_sample: bool = False) -> Tensor:
    """Return h, (B,), of similarities (B, B); same_sample: whether the diagonal counts."""
    counts = torch.ones_like(similarities, dtype=torch.bool)
    if not same_sample:
        counts = counts & ~torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
    positives = counts & (targets[:, None] == targets)
    log_p = similarities - similarities.masked_fill(~counts, torch.finfo(similarities.dtype).min).logsumexp(
        1, keepdim=True
    )
    return -log_p.masked_fill(~positives, 0).sum(1) / positives.sum(1).clamp_min(1)
