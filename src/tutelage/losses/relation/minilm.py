"""Wang, Bao, Huang, Dong, Wei: relations between a sequence's tokens."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss, require_equal_counts
from tutelage.utils.options import NonNegatives, Width


class MiniLMRelation(Loss):
    r"""Match the relations between a sequence's tokens by a layer's queries, keys and values.

    X is split into A_r relation heads of width d;  R(X) = softmax(X·Xᵀ/√d) over the tokens;
    L = Σ_X w_X · KL(R(X_t) ‖ R(X_s)), averaged over heads and the sequence's n tokens.

    Shapes: student and teacher lists of tensors (B, N, D), the queries, keys and values of one layer (or any equally
    long lists; widths may differ); attention_mask (B, N), 0 at padding. Returns (B,).
    Paper: Wang, Bao, Huang, Dong, Wei. Findings of ACL 2021. arXiv:2012.15828; the value relation alone is
    from Wang, Wei, Dong, Bao, Yang, Zhou. NeurIPS 2020. arXiv:2002.10957. 48 heads are the paper's for a 12-layer
    teacher.
    Raises: ConfigError if the heads aren't above 0 or don't divide a width, or the lists and weights differ in length.
    """

    paper = "Wang, Bao, Huang, Dong, Wei. Findings of ACL 2021. arXiv:2012.15828"
    compares = "review"

    num_relation_heads: Width = 48
    weights: NonNegatives = (1 / 3, 1 / 3, 1 / 3)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        student, teacher = ([torch.randn(6, 5, width) for _ in range(3)] for width in (48, 96))
        return student, teacher, {}

    def forward(self, student: list[Tensor], teacher: list[Tensor], *, attention_mask: Tensor | None = None) -> Tensor:
        require_equal_counts(self, student, teacher)
        if len(student) != len(self.weights):
            raise ConfigError(
                f"MiniLMRelation(weights={self.weights!r}) for {len(student)} layers, expected a weight for each."
            )
        mask = student[0].new_ones(student[0].shape[:2]) if attention_mask is None else attention_mask
        triples = zip(self.weights, student, teacher, strict=True)
        return torch.stack([weight * self.divergence(s, t, mask != 0) for weight, s, t in triples]).sum(0)

    def divergence(self, student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
        """Return the mean over heads and real tokens of KL(R(teacher) ‖ R(student)), (B,)."""
        log_s, log_t = (self.log_relation(x, real) for x in (student, teacher))
        kl = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1).mean(1)
        return (kl * real).sum(1) / real.sum(1).clamp_min(1)

    def log_relation(self, x: Tensor, real: Tensor) -> Tensor:
        """Return log R, over real tokens in its last dimension: (B, N, D) → (B, A_r, N, N)."""
        if x.dim() != 3 or x.shape[2] % self.num_relation_heads:
            raise ConfigError(
                f"MiniLMRelation: {tuple(x.shape)} doesn't split into num_relation_heads={self.num_relation_heads}, "
                "expected (B, N, D); choose a number that divides both widths."
            )
        heads = x.unflatten(2, (self.num_relation_heads, -1)).transpose(1, 2)
        relation = heads @ heads.mT / heads.shape[-1] ** 0.5
        return F.log_softmax(relation.masked_fill(~real[:, None, None], torch.finfo(relation.dtype).min), dim=-1)
