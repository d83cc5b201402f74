"""Heat maps of key points: a Gaussian around each visible point."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.data.map_targets import MapForm, unit_scale
from tutelage.data.preparation import SourceData
from tutelage.data.splits import Sample, Split, ViewSeed
from tutelage.errors import ConfigError, unknown

SIDES = (("left", "right"), ("Left", "Right"), ("l_", "r_"), ("_l", "_r"))
"""The parts of the names that distinguish points of the left and the right side."""


@dataclass(frozen=True)
class HeatmapOptions:
    """The option `heatmaps` of data with key points.

    Args:
        sigma: the standard deviation of a heat map's Gaussian, in pixels of the image as models get it.
        flip_pairs: the points, by number or name, that change places when an image is flipped; None: those whose names
            differ by left and right.

    Raises: ConfigError for values of another form.
    """

    sigma: float = 1.5
    flip_pairs: Sequence[Sequence[int | str]] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sigma, int | float) or isinstance(self.sigma, bool) or not 0.3 <= self.sigma <= 100:
            raise ConfigError(f"heatmaps: sigma={self.sigma!r}: expected a number of pixels from 0.3 to 100.")
        pairs = () if self.flip_pairs is None else self.flip_pairs
        if not isinstance(pairs, list | tuple) or not all(map(_is_pair, pairs)):
            raise ConfigError(
                f"heatmaps: flip_pairs={self.flip_pairs!r}: expected pairs of points, such as [[1, 2]]; [] for none."
            )

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> Self:
        """Return the options of a configuration.

        Raises: ConfigError for unknown ones.
        """
        known = ("sigma", "flip_pairs")
        wrong = [unknown("option of heatmaps", str(name), known) for name in options or {} if name not in known]
        if wrong:
            raise ConfigError("\n".join(wrong))
        return cls(**(options or {}))

    def pairs(self, names: Sequence[str]) -> list[tuple[int, int]]:
        """Return the numbers of the points that change places.

        Raises: ConfigError for unknown points, or one in two pairs.
        """
        if self.flip_pairs is None:
            return mirrored_pairs(names)
        known: dict[int | str, int] = {x: k for k, name in enumerate(names) for x in (k, name)}
        flat = [point for pair in self.flip_pairs for point in pair]
        if wrong := [point for point in flat if point not in known]:
            raise ConfigError(
                f"heatmaps: flip_pairs names {wrong[0]!r}: expected numbers below {len(names)}, or names."
            )
        numbers = [known[point] for point in flat]
        if len({*numbers}) < len(numbers):
            raise ConfigError(f"heatmaps: flip_pairs={self.flip_pairs}: expected each point once.")
        return list(zip(numbers[::2], numbers[1::2], strict=True))


def _is_pair(pair: object) -> bool:
    """Return whether it is two numbers or names of points."""
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return False
    return all(isinstance(point, int | str) and not isinstance(point, bool) for point in pair)


def mirrored_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of points whose names differ by left and right.

    >>> mirrored_pairs(["nose", "left_eye", "right_eye"])
    [(1, 2)]
    """
    numbers = {name: k for k, name in enumerate(names)}
    pairs = {(k, numbers[name.replace(left, right)]) for left, right in SIDES for name, k in numbers.items()
             if left in name and numbers.get(name.replace(left, right), k) != k}  # fmt: skip
    return sorted(pairs)


class HeatmapSplit(Split):
    """Images whose targets are points (K·2 numbers) as heat maps.

    samples: images with points x, y as fractions of width and height, NaN if a point isn't visible. sigma: as in
    HeatmapOptions.
    """

    def __init__(self, samples: Split, sigma: float) -> None:
        self.samples, self.sigma, self.groups = samples, sigma, samples.groups

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """The samples' height and width."""
        return self.samples.image_size

    def take(self, rows: Tensor) -> Self:
        """Select some of the samples."""
        return type(self)(self.samples.take(rows), self.sigma)

    def fingerprinted_by(self, content: bool) -> Self:
        """Return the same samples, fingerprinted so."""
        return type(self)(self.samples.fingerprinted_by(content), self.sigma)

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Yield images and heat maps (B, K, H, W)."""
        for images, points in self.samples.read(batches, augmentation, workers):
            assert isinstance(points, Tensor)
            yield images, render(points.view(len(points), -1, 2), images.shape[2:], self.sigma)

    def fingerprint(self) -> str:
        """Hash the samples' fingerprint and σ."""
        return hashlib.sha256(f"{self.samples.fingerprint()} {self.sigma}".encode()).hexdigest()


def render(points: Tensor, size: Sequence[int], sigma: float) -> Tensor:
    """Return the heat maps (B, K, H, W) of points (B, K, 2), fractions of width and height; NaN of NaN.

    The pixel of column c has its centre at (c + ½)/width.
    """
    high, wide = size
    x, y = points[..., 0] * wide - 0.5, points[..., 1] * high - 0.5
    columns, rows = (torch.arange(length, device=points.device) for length in (wide, high))
    across = (-(columns - x[..., None]).square() / (2 * sigma**2)).exp()
    down = (-(rows - y[..., None]).square() / (2 * sigma**2)).exp()
    return (down[..., :, None] * across[..., None, :]).float()


def keypoint_data(
    names: Sequence[str], splits: Mapping[str, Split], options: HeatmapOptions, size: tuple[int, ...], augment: str
) -> SourceData:
    """Return the data of samples whose targets are points, as fractions of width and height."""
    pairs = options.pairs(names)
    maps = {split: HeatmapSplit(samples, options.sigma) for split, samples in splits.items()}
    swaps = ", ".join(f"{names[a]} ↔ {names[b]}" for a, b in pairs)
    notes = [f"flipped images have these points in each other's place: {swaps}."] if pairs else []
    form = MapForm.with_pairs(names, pairs)
    found = SourceData("keypoints", (), size, augment, maps, notes=notes, target="map", value_names=names)
    found.values, found.map_form = unit_scale(names), form
    return found
