"""Series (C, T): channels over time, such as waveforms and sensors."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from tutelage.data.augment import shift
from tutelage.data.modalities.base import Modality
from tutelage.data.splits import ViewSeed


class Series(Modality):
    """Series of one length; augment=shift moves them by up to an eighth of it, with zeros at the ends."""

    name = "series"
    positions = 1
    crops = ("none", "shift")

    def augment(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Shift the series in time."""
        return (shift(x, index, view.seed, view.view, x.shape[-1] // 8) if "shift" in words else x), mask
