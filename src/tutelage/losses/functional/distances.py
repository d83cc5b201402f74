"""Distances between two sides' tensors of the same sample, and sums over a sample."""

from __future__ import annotations

from torch import Tensor


def mean_by_sample(x: Tensor) -> Tensor:
    """Return the mean over all elements of a sample, (B, …) → (B,)."""
    return x.mean(tuple(range(1, x.dim())))


def sum_by_sample(x: Tensor) -> Tensor:
    """Return the sum over all elements of a sample, (B, …) → (B,)."""
    return x.sum(tuple(range(1, x.dim())))


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return ‖x − y‖² over all elements of a sample, (B, …) → (B,)."""
    return (x - y).pow(2).flatten(1).sum(1)
