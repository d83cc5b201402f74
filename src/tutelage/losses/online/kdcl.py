"""Guo, Wang, Wu, Yu, Liang, Hu, Luo: peers learn from their best answer."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from tutelage.declared import positive
from tutelage.errors import ConfigError
from tutelage.losses.base import Response
from tutelage.losses.classes import is_target
from tutelage.losses.several import Several, every_ce, softened_kls, stacked

Ensemble = Literal["minlogit", "naive"]


class KDCL(Response):
    r"""All peers at once: the truth, and each peer matches the group's best logits.

    L = Σ_m CE(z_m, y) + λ·T²·Σ_m KL(softmax(z*/T) ‖ softmax(z_m/T)), z* without gradient: the parts "truth" and
    "ensemble". variant "minlogit": z*_c = min_m (z_m,c − z_m,y); "naive": z* is, sample by sample, that of the
    peer with the smallest cross-entropy.

    Shapes: student the M peers' logits, stacked (M, B, C, …) or a list; no teacher; targets (B, …) int64; each part is
    (B, …), summed over peers.
    Paper: Guo, Wang, Wu, Yu, Liang, Hu, Luo. CVPR 2020, whose other ensembles need a solver or a validation set.
    Raises: ConfigError if the temperature isn't above 0, the variant is none of these, or shapes differ.
    """

    paper = "Guo, Wang, Wu, Yu, Liang, Hu, Luo. CVPR 2020"
    lists = ("student",)
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    beside = 0.0

    variant: Ensemble = "minlogit"
    temperature: float = 2.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "temperature")
        if self.variant not in get_args(Ensemble):
            raise ConfigError(f"KDCL(variant={self.variant!r}): expected one of {', '.join(get_args(Ensemble))}.")

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return [torch.randn(6, 5) for _ in range(3)], None, {"targets": torch.randint(5, (6,))}

    def forward(self, student: Several, teacher: None = None, *, targets: Tensor) -> dict[str, Tensor]:
        peers = stacked(student)
        truth = every_ce(peers, targets)
        best = self.best(peers.detach(), truth.detach(), targets)
        ensemble = softened_kls(peers, best, self.temperature).sum(0)
        return {"truth": truth.sum(0), "ensemble": self.strength * ensemble}

    def best(self, peers: Tensor, errors: Tensor, targets: Tensor) -> Tensor:
        """z*, (B, C, …)."""
        if self.variant == "naive":
            chosen = errors.argmin(0).unsqueeze(0).unsqueeze(2).expand_as(peers[:1])
            return peers.gather(0, chosen)[0]
        true = is_target(peers[0], targets)
        return (peers - (peers * true).sum(2, keepdim=True)).amin(0)
