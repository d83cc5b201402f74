"""Distances between what two sides said of the same sample."""

from __future__ import annotations

from torch import Tensor


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """‖x − y‖² over all that a sample holds, (B, …) → (B,)."""
    return (x - y).pow(2).flatten(1).sum(1)
