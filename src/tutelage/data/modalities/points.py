"""Point clouds (C, N): x, y, z and features of each point, in any order."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from tutelage.data import point_effects
from tutelage.data.modalities.base import Modality
from tutelage.data.splits import ViewSeed

PICTURE = 64
"""The side of a picture in the report, in pixels."""


class Points(Modality):
    """Clouds of one number of points.

    augment=subsample draws other points of each cloud in each view; rotate, jitter, scale and point-dropout may follow,
    in this order.
    """

    name = "points"
    positions = 1
    has_pictures = True
    picture_note = "Clouds are seen from the side and from above; near points are light."
    crops = ("none", "subsample")
    effects = tuple(point_effects.EFFECTS)

    def augment(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Turn the clouds about the up axis, move and scale their points, and drop some."""
        for word, effect in point_effects.EFFECTS.items():
            x = effect(x, index, view.seed, view.view) if word in words else x
        return x, mask

    def pictures(self, x: Tensor) -> Tensor:
        """Return the points, seen along the first horizontal axis and from above, side by side."""
        centred = x[:, :3] - x[:, :3].mean(2, keepdim=True)
        unit = centred / centred.norm(dim=1).amax(1)[:, None, None].clamp(min=1e-12)
        side, above = unit[:, [1, 2, 0]], unit[:, [1, 0, 2]]
        return torch.cat([_depths(side), _depths(above)], 3)

    def describe(self, channels: int, size: tuple[int, ...]) -> str:
        """Return the number of points."""
        return f"{size[0]} points of {channels} numbers"


def _depths(points: Tensor) -> Tensor:
    """Return pictures (B, 1, S, S) of points (B, 3, N) in the unit sphere: across, upwards, towards the viewer."""
    column, row = (((axis + 1) * (PICTURE / 2)).long().clamp(0, PICTURE - 1) for axis in (points[:, 0], -points[:, 1]))
    light = 0.65 + 0.35 * points[:, 2]
    flat = torch.zeros(len(points), PICTURE * PICTURE, device=points.device)
    return flat.scatter_reduce(1, row * PICTURE + column, light, "amax").view(-1, 1, PICTURE, PICTURE)
