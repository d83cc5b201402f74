"""What several losses do to tokens (B, N, D)."""

from __future__ import annotations

from torch import Tensor


def as_tokens(feature: Tensor) -> Tensor:
    """(B, N, D) as it is; a map (B, D, H, W) as (B, H·W, D); a vector (B, D) as (B, 1, D)."""
    if feature.dim() == 2:
        return feature.unsqueeze(1)
    return feature.flatten(2).mT if feature.dim() == 4 else feature


def within(values: Tensor, mask: Tensor | None) -> Tensor:
    """Values whose mean over all is that over where the mask, of a shape that expands to theirs, isn't 0."""
    if mask is None:
        return values
    kept = (mask != 0).to(values.dtype).expand_as(values)
    return values * kept / kept.mean().clamp_min(1e-12)


def by_sequence(values: Tensor, tokens: Tensor) -> Tensor:
    """The mean of each sequence's values, (B,), 0 where there is none; values (N,) are those of the True in (B, T)."""
    spread = values.new_zeros(tokens.shape).masked_scatter(tokens, values)
    return spread.sum(1) / tokens.sum(1).clamp_min(1)
