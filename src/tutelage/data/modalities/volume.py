"""Volumes (C, D, H, W), such as voxel grids and scans."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data import point_effects
from tutelage.data.modalities.base import Modality
from tutelage.data.splits import ViewSeed


class Volume(Modality):
    """Volumes of one size; augment=shift moves them by up to an eighth of their shortest side, with zeros around.

    rotate turns them about their last axis, as it turns points. Grids of clouds have all points in each view, also with
    augment=subsample.
    """

    name = "volume"
    positions = 3
    has_pictures = True
    picture_note = "Volumes are seen from the side and from above: the mean along the first and the last axis."
    crops = ("none", "shift", "subsample")
    effects = ("rotate",)

    def augment(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Shift the volumes, then turn them about the last axis."""
        x, mask = super().augment(x, mask, index, view, words)
        return (point_effects.rotate_grid(x, index, view.seed, view.view) if "rotate" in words else x), mask

    def pictures(self, x: Tensor) -> Tensor:
        """Return the means of the first channel along the first and the last axis, side by side; the last is up."""
        side, above = x[:, :1].mean(2).mT.flip(2), x[:, :1].mean(4)
        return torch.cat([_grey(side, x.shape[4]), _grey(above, x.shape[4])], 3)


def _grey(x: Tensor, height: int) -> Tensor:
    """Return pictures (B, 1, H, W) from 0 to 1, of that height."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    grey = (x - low) / (high - low).clamp(min=1e-6)
    return F.interpolate(grey, (height, x.shape[3]))
