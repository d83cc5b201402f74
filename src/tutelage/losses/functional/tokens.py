"""Operations on tokens (B, N, D) that several losses share."""

from __future__ import annotations

from torch import Tensor


def as_tokens(feature: Tensor) -> Tensor:
    """Return tokens (B, N, D) unchanged, a map (B, D, H, W) as (B, H·W, D), and a vector (B, D) as (B, 1, D).

    The map of a series has three dimensions, and is one of tokens (B, T, D) where a loss takes both.
    """
    if feature.dim() == 2:
        return feature.unsqueeze(1)
    return map_as_tokens(feature) if feature.dim() > 3 else feature


def map_as_tokens(feature: Tensor) -> Tensor:
    """Return the positions of a map as tokens, (B, D, …) → (B, N, D)."""
    return feature.flatten(2).mT


def scale_to_masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Scale the values so that their mean is the mean over the nonzero mask, which expands to their shape."""
    if mask is None:
        return values
    kept = (mask != 0).to(values.dtype).expand_as(values)
    return values * kept / kept.mean().clamp_min(1e-12)


def mean_by_sequence(values: Tensor, tokens: Tensor) -> Tensor:
    """Return the mean of each sequence's values, (B,), 0 if it has none; values (N,) belong to the True of (B, T)."""
    by_position = values.new_zeros(tokens.shape).masked_scatter(tokens, values)
    return by_position.sum(1) / tokens.sum(1).clamp_min(1)
