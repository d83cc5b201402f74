"""Volumes (C, D, H, W), such as voxel grids and scans."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from tutelage.data.augment import shift
from tutelage.data.modalities.base import Modality
from tutelage.data.splits import ViewSeed


class Volume(Modality):
    """Volumes of one size; augment=shift moves them by up to an eighth of their shortest side, with zeros around."""

    name = "volume"
    positions = 3
    crops = ("none", "shift")

    def augment(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Shift the volumes."""
        return (shift(x, index, view.seed, view.view, min(x.shape[2:]) // 8) if "shift" in words else x), mask
