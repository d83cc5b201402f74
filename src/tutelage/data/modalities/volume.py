"""Volumes (C, D, H, W), such as voxel grids and scans."""

from __future__ import annotations

from tutelage.data.modalities.base import Modality


class Volume(Modality):
    """Volumes of one size; augment=shift moves them by up to an eighth of their shortest side, with zeros around."""

    name = "volume"
    positions = 3
    crops = ("none", "shift")
