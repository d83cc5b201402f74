"""Maps of values as targets: how their channels move with the images, and their scale."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data.augment import crop_flip, is_flipped
from tutelage.data.splits import Split, ViewSeed
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ConfigError, DataError

KINDS = ("value", "x", "y", "mass")
"""The kinds of a map's channels: values of a place, displacements in pixels along x or y, and masses that add up."""

IMAGES = (("grey",), ("red", "green", "blue"))
"""The names of the channels of maps that are images, with values in [0, 1]."""

MEASURED = 500
"""The most training samples by which the scale of maps is measured."""


@dataclass(frozen=True)
class MapForm:
    """The changes of maps' channels, (B, C, h, w), when their images are flipped or resized.

    A displacement along x changes its sign when flipped left-right; displacements grow with the image, and a mass is
    spread over more pixels.

    Args:
        kinds: each channel's kind, one of `KINDS`.
        order: the numbers of the channels after a flip, where left and right change places; () if none do.
    """

    kinds: tuple[str, ...]
    order: tuple[int, ...] = ()

    @classmethod
    def with_pairs(cls, names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> Self:
        """Return the form of channels of values, of which these pairs change places when flipped."""
        order = list(range(len(names)))
        for left, right in pairs:
            order[left], order[right] = right, left
        return cls(("value",) * len(names), tuple(order) if pairs else ())

    def shown(self, values: ValueTargets | None) -> str:
        """Return how pictures show such maps: as an "image", as "motion", or on a colour scale (empty)."""
        is_image = values is not None and values.names in IMAGES and set(self.kinds) == {"value"}
        return "image" if is_image else "motion" if self.kinds == ("x", "y") else ""

    def flip(self, maps: Tensor) -> Tensor:
        """Return mirrored maps (…, C, h, w) with their channels in the places and with the signs of the mirror."""
        moved = maps[..., list(self.order), :, :] if self.order else maps
        return moved * self._factors(maps, {"x": -1.0}) if "x" in self.kinds else moved

    def augment(
        self, maps: Tensor, sides: Sequence[int], index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> Tensor:
        """Shift and flip maps as their images are (`Image.augment`); what comes in from outside isn't known.

        sides: the images' height and width.
        Raises: ConfigError for maps that aren't as large as their images, or a whole number of times as large.
        """
        if not {"shift", "crop-flip"} & {*words}:
            return maps
        times = maps.shape[-1] // sides[1]
        if tuple(maps.shape[-2:]) != (times * sides[0], times * sides[1]):
            raise ConfigError(
                f"augment={'+'.join(sorted(words))}: the maps are {tuple(maps.shape[-2:])} for images of "
                f"{tuple(sides)}: expected their size, or a whole number of times that; set augment=none."
            )
        pad, flip = min(sides) // 8, "crop-flip" in words
        moved = crop_flip(maps, index, view.seed, view.view, pad, flip=flip, fill=torch.nan, times=times)
        if not flip:
            return moved
        flipped = is_flipped(index, view.seed, view.view).view(-1, 1, 1, 1)
        return torch.where(flipped, self.flip(moved), moved)

    def resize(self, maps: Tensor, sides: Sequence[int], size: Sequence[int]) -> Tensor:
        """Return maps for images that are brought from `sides` to `size`, each pixel with its nearest value."""
        if tuple(sides) == tuple(size):
            return maps
        high, wide = (new / old for new, old in zip(size, sides, strict=True))
        shape = [max(1, round(x * times)) for x, times in zip(maps.shape[-2:], (high, wide), strict=True)]
        resized = F.interpolate(maps, shape, mode="nearest-exact")
        return resized * self._factors(maps, {"x": wide, "y": high, "mass": 1 / (high * wide)})

    def _factors(self, like: Tensor, of_kind: dict[str, float]) -> Tensor:
        return like.new_tensor([of_kind.get(kind, 1.0) for kind in self.kinds]).view(-1, 1, 1)


def unit_scale(names: Sequence[str]) -> ValueTargets:
    """Return the scale of maps that keep their units."""
    return ValueTargets(tuple(names), (0.0,) * len(names), (1.0,) * len(names))


def measure_maps(data: str, names: Sequence[str], train: Split) -> ValueTargets:
    """Return the scale of maps: nothing is subtracted, and all channels are divided by their root mean square.

    A depth therefore stays above 0, an empty place 0, and a displacement keeps its direction.
    Raises: DataError if no value is known, or all known values are 0.
    """
    rows = torch.linspace(0, len(train) - 1, min(MEASURED, len(train)), dtype=torch.float64).long()
    squares, count = 0.0, 0
    for _, maps in train.read(list(rows.split(50)), ViewSeed()):
        known = maps[~maps.isnan()].double()
        squares, count = squares + float(known.square().sum()), count + known.numel()
    if not squares:
        fault = "are 0" if count else "aren't known (NaN)"
        raise DataError(f"data {data!r}: all values of the training maps {fault}, so there is nothing to learn.")
    return ValueTargets(tuple(names), (0.0,) * len(names), ((squares / count) ** 0.5,) * len(names))
