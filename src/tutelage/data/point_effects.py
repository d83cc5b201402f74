"""Augmentations of points (B, C, N) at each sample's address; the first three channels are coordinates, z is up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data.augment import addressed_noise, stream_uniform

JITTER, FARTHEST = 0.01, 0.05
"""The deviation of a coordinate's noise and the largest, as parts of the cloud's radius. Qi et al. CVPR 2017."""

SCALES = (0.8, 1.25)
"""The smallest and the largest factor of the coordinates. Qi et al. NeurIPS 2017."""

MOST_DROPPED = 0.5
"""The largest part of the points that are dropped."""

STREAMS = {"rotate": 5, "jitter": 6, "scale": 7, "point-dropout": 8}
"""A number for each effect, which separates its draws from the others' at the same address."""

Effect = Callable[[Tensor, Tensor, int, int], Tensor]
"""(inputs, sample numbers, seed, view) -> inputs."""


def angles(index: Tensor, seed: int, view: int) -> Tensor:
    """Return the angle by which each sample is turned about the up axis, (B,)."""
    return 2 * math.pi * stream_uniform(STREAMS["rotate"], index, seed, view, 1)[:, 0]


def rotate(x: Tensor, index: Tensor, seed: int, view: int) -> Tensor:
    """Turn each cloud about the up axis by a random angle; features stay as they are."""
    angle = angles(index, seed, view)[:, None]
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], 1)
    return torch.cat([turned, x[:, 2:]], 1)


def rotate_grid(x: Tensor, index: Tensor, seed: int, view: int) -> Tensor:
    """Turn each volume (B, C, D, H, W) about its last axis, by the angle that turns its points; nearest cells."""
    angle = angles(index, seed, view)
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = [one, zero, zero, zero, zero, cos, -sin, zero, zero, sin, cos, zero]  # of W, H and D
    places = F.affine_grid(torch.stack(rows, 1).view(-1, 3, 4), list(x.shape), align_corners=False)
    return F.grid_sample(x.float(), places, mode="nearest", align_corners=False).to(x.dtype)


def jitter(x: Tensor, index: Tensor, seed: int, view: int) -> Tensor:
    """Add noise to the coordinates: normal, of the deviation `JITTER`, at most `FARTHEST`, times the cloud's radius."""
    noise = (JITTER * addressed_noise(index, seed ^ STREAMS["jitter"], view, (3, x.shape[2]))).clamp(
        -FARTHEST, FARTHEST
    )
    centred = x[:, :3] - x[:, :3].mean(2, keepdim=True)
    radius = centred.norm(dim=1).amax(1)[:, None, None]
    return torch.cat([x[:, :3] + radius * noise, x[:, 3:]], 1)


def scale(x: Tensor, index: Tensor, seed: int, view: int) -> Tensor:
    """Multiply the coordinates of each cloud by a random factor from `SCALES`."""
    factor = SCALES[0] + (SCALES[1] - SCALES[0]) * stream_uniform(STREAMS["scale"], index, seed, view, 1)[:, :, None]
    return torch.cat([factor * x[:, :3], x[:, 3:]], 1)


def drop_points(x: Tensor, index: Tensor, seed: int, view: int) -> Tensor:
    """Replace a random part of each cloud's points, up to `MOST_DROPPED`, by its first point."""
    draws = stream_uniform(STREAMS["point-dropout"], index, seed, view, x.shape[2] + 1)
    dropped = draws[:, 1:] < MOST_DROPPED * draws[:, :1]
    return torch.where(dropped[:, None], x[:, :, :1], x)


EFFECTS: Mapping[str, Effect] = {"rotate": rotate, "jitter": jitter, "scale": scale, "point-dropout": drop_points}
"""The augmentations by name, in the order in which they are applied."""
