"""Series (C, T): channels over time, such as waveforms and sensors."""

from __future__ import annotations

from tutelage.data.modalities.base import Modality


class Series(Modality):
    """Series of one length; augment=shift moves them by up to an eighth of it, with zeros at the ends."""

    name = "series"
    positions = 1
    crops = ("none", "shift")
