"""Jiao et al. (TinyBERT), Yang et al. (TextBrewer): transformers' attention scores."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature, require_same_shape
from tutelage.losses.functional.tokens import scale_to_masked_mean
from tutelage.utils.options import Number

Heads = Literal["each", "mean", "sum"]


class AttentionMSE(Feature):
    r"""Match the attention scores, from before their softmax, of paired layers.

    L = (s_hij − t_hij)², one value per head h, query i and key j.

    heads: compare "each", or their "mean" or "sum", for which student and teacher may have different numbers of heads.
    floor: without a mask, scores at or below it are taken as those of masked keys and set to 0, on each side
    separately.
    Shapes: student, teacher (B, H, N, N); mask (B, N), nonzero at the tokens that count as query and key.
    Returns (B, H, N, N), H = 1 for a mean or sum.
    Paper: Jiao et al. TinyBERT. Findings of EMNLP 2020. arXiv:1909.10351, eq. 7; reduced heads: Yang et al. TextBrewer.
    ACL 2020. arXiv:2002.12620, whose floor is −0.001, so that negative scores are ignored there.
    Raises: ConfigError if heads is unknown or the shapes differ.
    """

    name = "attention_mse"
    paper = "Jiao et al. Findings of EMNLP 2020. arXiv:1909.10351"
    feature_format = ""
    ignores = ("swapped sides",)

    heads: Heads = "each"
    floor: Number = -100.0

    def forward(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        s, t = combine_heads(student, self.heads), combine_heads(teacher, self.heads)
        require_same_shape(self, s, t)
        if mask is None:
            return (s.masked_fill(s <= self.floor, 0) - t.masked_fill(t <= self.floor, 0)).pow(2)
        pair_mask = mask[:, None, :, None] * mask[:, None, None, :]
        return scale_to_masked_mean(
            (s.masked_fill(pair_mask == 0, 0) - t.masked_fill(pair_mask == 0, 0)).pow(2), pair_mask
        )


class AttentionCE(Feature):
    r"""Match the attention of each query as a distribution over keys.

    L = −Σ_j p(t)_hij · log p(s)_hij, p the softmax of the scores over all keys j; one value per head h and query i.

    heads: compare "each", or the "mean" or "sum" of their scores. floor: without a mask, keys that the teacher scores
    at or below it are taken as masked and left out of the sum.
    Shapes: student, teacher (B, H, N, N), scores from before the softmax; mask (B, N), nonzero at the tokens that
    count as query and key. Returns (B, H, N), H = 1 for a mean or sum.
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
        s, t = combine_heads(student, self.heads), combine_heads(teacher, self.heads)
        require_same_shape(self, s, t)
        is_masked = t <= self.floor if mask is None else mask[:, None, None, :] == 0
        values = -(F.softmax(t, dim=3) * F.log_softmax(s, dim=3).masked_fill(is_masked, 0)).sum(3)
        return scale_to_masked_mean(values, None if mask is None else mask[:, None, :])


def combine_heads(scores: Tensor, heads: str) -> Tensor:
    """Return scores (B, H, N, N) unchanged, or with their heads reduced to one."""
    if scores.dim() != 4:
        raise ConfigError(
            f"attention scores {tuple(scores.shape)}: expected (B, heads, tokens, tokens), from before the softmax; "
            "name layers that output them."
        )
    if heads == "each":
        return scores
    return scores.mean(1, keepdim=True) if heads == "mean" else scores.sum(1, keepdim=True)
