"""Distances between two sides' tensors of the same sample."""

from __future__ import annotations

from torch import Tensor


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return ‖x − y‖² over all elements of a sample, (B, …) → (B,)."""
    return (x - y).pow(2).flatten(1).sum(1)
