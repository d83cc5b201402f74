"""Jiao et al. (TinyBERT), Yang et al. (TextBrewer): the attention of transformers."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Feature, same_shape
from tutelage.losses.functional.tokens import within
from tutelage.utils.options import Number

Heads = Literal["each", "mean", "sum"]


class AttentionMSE(Feature):
    r"""Match the attention scores, from before their softmax, of paired layers.

    L = (s_hij − t_hij)², one value per head h, query i and key j.

    heads: compare "each", or their "mean" or "sum", where student and teacher may have different numbers of them.
    floor: without a mask, scores at or below it are those of masked keys and count as 0, on either side by itself.
    Shapes: student, teacher (B, H, N, N); mask (B, N), not 0 at the tokens that count as query and key.
    Returns (B, H, N, N), H = 1 for a mean or sum.
    Paper: Jiao et al. TinyBERT. Findings of EMNLP 2020. arXiv:1909.10351, eq. 7; heads joined: Yang et al. TextBrewer.
    ACL 2020. arXiv:2002.12620, whose floor is −0.001, so that negative scores don't count there.
    Raises: ConfigError if heads is unknown or the shapes differ.
    """

    name = "attention_mse"
    paper = "Jiao et al. Findings of EMNLP 2020. arXiv:1909.10351"
    feature_format = ""
    ignores = ("swapped sides",)

    heads: Heads = "each"
    floor: Number = -100.0

    def forward(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        s, t = joined(student, self.heads), joined(teacher, self.heads)
        same_shape(self, s, t)
        if mask is None:
            return (s.masked_fill(s <= self.floor, 0) - t.masked_fill(t <= self.floor, 0)).pow(2)
        both = mask[:, None, :, None] * mask[:, None, None, :]
        return within((s.masked_fill(both == 0, 0) - t.masked_fill(both == 0, 0)).pow(2), both)


class AttentionCE(Feature):
    r"""Match the attention of each query as a distribution over keys.

    L = −Σ_j p(t)_hij · log p(s)_hij, p the softmax of the scores over all keys j; one value per head h and query i.

    heads: compare "each", or the "mean" or "sum" of their scores. floor: without a mask, keys that the teacher scores
    at or below it are masked ones and left out of the sum.
    Shapes: student, teacher (B, H, N, N), scores from before the softmax; mask (B, N), not 0 at the tokens that count
    as query and key. Returns (B, H, N), H = 1 for a mean or sum.
    Paper: Yang et al. TextBrewer. ACL 2020. arXiv:2002.12620, whose floor is −0.001.
    Raises: ConfigError if heads is unknown or the shapes differ.
    """

    name = "attention_ce"
    paper = "Yang et al. ACL 2020. arXiv:2002.12620"
    feature_format = ""
    zero_at_equal = False

    heads: Heads = "each"
    floor: Number = -100.0

    def forward(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        s, t = joined(student, self.heads), joined(teacher, self.heads)
        same_shape(self, s, t)
        left_out = t <= self.floor if mask is None else mask[:, None, None, :] == 0
        values = -(F.softmax(t, dim=3) * F.log_softmax(s, dim=3).masked_fill(left_out, 0)).sum(3)
        return within(values, None if mask is None else mask[:, None, :])


def joined(scores: Tensor, heads: str) -> Tensor:
    """(B, H, N, N) as it is, or with its heads joined to one."""
    if heads == "each":
        return scores
    return scores.mean(1, keepdim=True) if heads == "mean" else scores.sum(1, keepdim=True)
