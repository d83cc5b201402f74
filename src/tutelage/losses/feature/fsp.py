"""Yim, Joo, Bae, Kim: the flow of solution procedure between layers; and its transpose for tokens."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature, require_equal_counts, require_same_shape
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.losses.functional.tokens import as_tokens, scale_to_masked_mean


class FSP(Feature):
    r"""Match the products of successive layers' features (the flow of solution procedure).

    G_l = (1/N)·Σ_n x_l[n]·x_{l+1}[n]ᵀ over the N positions;  L = Σ_l mean (G_l(s) − G_l(t))², one value per sample.

    Shapes: student, teacher lists of at least two maps (B, C, H, W) or token features (B, N, D), of equal channels in
    pairs; the larger of two successive maps is average-pooled. mask (B, N) leaves out tokens where it is 0.
    Returns (B,).
    Paper: Yim, Joo, Bae, Kim. CVPR 2017, eq. 1–2, which has no arXiv version; the mean over elements, where the paper
    has the squared norm, as in the published benchmarks. The paper takes only layers of equal size and trains it in a
    first stage.
    Raises: ConfigError if the lists or channels differ or there is only one layer.
    """

    paper = "Yim, Joo, Bae, Kim. CVPR 2017"
    compares = "review"
    feature_format = ""
    ignores = ("swapped sides",)

    def forward(self, student: list[Tensor], teacher: list[Tensor], *, mask: Tensor | None = None) -> Tensor:
        require_equal_counts(self, student, teacher)
        losses = []
        for s, t in zip(successive(self, student), successive(self, teacher), strict=True):
            gram_s, gram_t = flow(*s, mask), flow(*t, mask)
            require_same_shape(self, gram_s, gram_t)
            losses.append((gram_s - gram_t).pow(2).mean((1, 2)))
        return torch.stack(losses).sum(0)


class TokenMMD(Feature):
    r"""Match the similarities between the tokens of one layer and those of the next.

    G_l = x_l·x_{l+1}ᵀ / D, tokens by tokens;  L = Σ_l mean (G_l(s) − G_l(t))² over pairs of tokens.

    Shapes: student, teacher lists of at least two (B, N, D) or maps; D may differ between student and teacher. mask
    (B, N) leaves out tokens where it is 0. Returns (B,).
    Paper: Yang et al. TextBrewer. ACL 2020 (demonstrations). arXiv:2002.12620, after NST of Huang, Wang 2017.
    Raises: ConfigError if the lists, positions or the widths of successive layers differ or there is only one layer.
    """

    name = "token_mmd"
    paper = "Yang et al. ACL 2020. arXiv:2002.12620"
    compares = "review"
    feature_format = ""
    ignores = ("swapped sides",)

    def forward(self, student: list[Tensor], teacher: list[Tensor], *, mask: Tensor | None = None) -> Tensor:
        require_equal_counts(self, student, teacher)
        pair_mask = None if mask is None else mask[:, :, None] * mask[:, None, :]
        losses = []
        for s, t in zip(successive(self, student), successive(self, teacher), strict=True):
            gram_s, gram_t = token_products(self, *s), token_products(self, *t)
            require_same_shape(self, gram_s, gram_t)
            losses.append(scale_to_masked_mean((gram_s - gram_t).pow(2), pair_mask).mean((1, 2)))
        return torch.stack(losses).sum(0)


def successive(loss: Feature, features: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each layer with the next, as tokens of the same positions."""
    if len(features) < 2:
        raise ConfigError(
            f"{type(loss).__name__} compares a layer with the next: got {len(features)} layers, name two or more."
        )
    for x, y in pairwise(features):
        if x.dim() > 3:
            x, y = pool_to_smaller(x, y)
        x, y = as_tokens(x), as_tokens(y)
        if x.shape[1] != y.shape[1]:  # the stages of a series
            x, y = (z.mT for z in pool_to_smaller(x.mT, y.mT))
        yield x, y


def flow(x: Tensor, y: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of x[n]·y[n]ᵀ over the positions that the mask keeps, (B, N, D), (B, N, D') → (B, D, D')."""
    if mask is None:
        return x.mT @ y / x.shape[1]
    kept = (mask != 0).to(x.dtype)[:, :, None]
    return (x * kept).mT @ (y * kept) / kept.sum(1, keepdim=True).clamp_min(1)


def token_products(loss: Feature, x: Tensor, y: Tensor) -> Tensor:
    """Return x·yᵀ/D, (B, N, D), (B, N, D) → (B, N, N)."""
    if x.shape[2] != y.shape[2]:
        raise ConfigError(
            f"{type(loss).__name__} compares the tokens of a layer with those of the next: got widths "
            f"{x.shape[2]} and {y.shape[2]}, expected equal ones; name layers of equal width."
        )
    return x @ y.mT / x.shape[2]
