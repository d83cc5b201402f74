"""Products, distances and cosines between the vectors of a batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def gram(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return G_ij = ⟨x_i, x_j⟩, ‖x_i − x_j‖² = G_ii + G_jj − 2·G_ij and G_ii + G_jj, each (B, B), of (B, …) flattened.

    The batch's mean is subtracted first, which changes no difference and preserves the most digits.
    """
    x = x.flatten(1)
    x = x - x.mean(0)
    g = x @ x.T
    scale = g.diagonal()[:, None] + g.diagonal()
    return g, scale - 2 * g, scale


def squared_distances(x: Tensor) -> Tensor:
    """Return ‖x_i − x_j‖², (B, B), of (B, …); 0 on the diagonal and at least 10⁻¹² elsewhere."""
    _, squared, _ = gram(x)
    squared = squared.clamp_min(1e-12)
    return squared - squared.diagonal().diag_embed()


def cosines(x: Tensor) -> Tensor:
    """Return ⟨x_i, x_j⟩ / ‖x_i‖‖x_j‖, (…, N, N), of (…, N, D)."""
    x = F.normalize(x, dim=-1)
    return x @ x.mT
