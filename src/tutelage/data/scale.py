"""The scale of image values as loaded, and their normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.errors import ConfigError, DataError

Numbers = tuple[float, ...]
SLACK = 0.5
"""The distance beyond [0, 1] that transforms may move pixels to; values further out aren't pixels in [0, 1]."""


@dataclass(frozen=True)
class SourceScale:
    """The scale of image values as loaded: pixels in [0, 1] (bytes over 255), or already normalised floats.

    kind: "pixels"; "normalised", by mean and std if these are known; "unknown" if it isn't known which.
    """

    kind: Literal["pixels", "normalised", "unknown"] = "pixels"
    mean: Numbers | None = None
    std: Numbers | None = None

    @property
    def known(self) -> bool:
        """True if the values can be converted to pixels in [0, 1]."""
        return self.kind == "pixels" or self.mean is not None

    def normalisation_for(
        self, name: str, expected: tuple[Numbers, Numbers], known: bool, current: tuple[Numbers, Numbers]
    ) -> tuple[Numbers, Numbers]:
        """Return the mean and std by which a network's data is normalised.

        name: the data's. expected: the network's mean and std, of pixels if `known`. current: the data's.
        Raises: ConfigError if the conversion from the data's scale to the network's isn't known.
        """
        if (expected, known) == (current, self.known):
            return current
        if (known and self.known) or (not known and self.kind == "unknown"):  # of the floats as they are
            return expected
        if not known:
            raise ConfigError(
                f"data {name!r}: the network was trained on floats of unknown normalisation, and the scale of this "
                f"data is {self.kind!r}: use data on the same scale, or train the network on data with normalised= set."
            )
        if self.kind == "normalised":
            return current
        raise ConfigError(
            f"data {name!r}: the network expects mean {expected[0]} and std {expected[1]}, and it isn't known whether "
            "the floats of this data are pixels or already normalised. Set normalised=False (pixels in [0, 1]), "
            "normalised=(mean, std) (normalised by these), or normalised=True (leave them unchanged)."
        )


PIXELS = SourceScale()


@dataclass(frozen=True)
class Scale:
    """The scale of the images, and the mean and std of pixels in [0, 1] that normalise them (None: to be measured)."""

    source_scale: SourceScale = PIXELS
    mean: Numbers | None = None
    std: Numbers | None = None

    @classmethod
    def from_first_image(cls, first: Tensor, pixels: bool, mean: Any, std: Any, normalised: Any) -> Scale:
        """Return the scale of a Dataset from its options and its first image.

        pixels: whether the image certainly has pixels (8 or 16 bits).
        Raises: ConfigError if the options contradict each other or the images; DataError for floats out of range.
        """
        channels, floats = len(first), not pixels
        if (mean is None) != (std is None):
            raise ConfigError(f"mean={mean}, std={std}: expected both, or neither.")
        if mean is not None:
            mean, std = check_statistics("mean", mean, channels), check_statistics("std", std, channels)
        if normalised is None:
            normalised = None if floats and mean is None else False
        if normalised is None or normalised is True:
            if normalised and (mean is not None or not floats):
                reason = "its images are pixels" if not floats else "mean and std refer to pixels in [0, 1]"
                raise ConfigError(f"normalised=True: {reason}; remove it, or set normalised=(mean, std).")
            return cls(SourceScale("normalised" if normalised else "unknown"), (0.0,) * channels, (1.0,) * channels)
        if normalised is False:
            if floats:
                check_pixel_range(first)
            return cls(PIXELS, mean, std)
        if not floats or not isinstance(normalised, Sequence) or isinstance(normalised, str) or len(normalised) != 2:
            hint = "its images are pixels; remove it" if not floats else "expected True, False or (mean, std)"
            raise ConfigError(f"normalised={normalised!r}: {hint}.")
        statistics = tuple(
            check_statistics(f"normalised: {w}", v, channels) for w, v in zip(("mean", "std"), normalised, strict=True)
        )
        return cls(SourceScale("normalised", *statistics), mean or statistics[0], std or statistics[1])


def normalise(x: Tensor, mean: Numbers, std: Numbers, source_scale: SourceScale = PIXELS) -> Tensor:
    """Return (pixel - mean) / std as float32, per channel: (B, C, …) -> same.

    Pixels are x/top, with top = 255 for uint8 and 1 for float; floats normalised by `source_scale` are converted first.
    """
    top = 1.0 if x.is_floating_point() else 255.0
    statistics = source_scale.mean or (0.0,), source_scale.std or (1.0,)
    shape = (-1, *(1 for _ in x.shape[2:]))
    mean_, std_, shift, scale = (torch.tensor(v, device=x.device).view(shape) for v in (mean, std, *statistics))
    return (x.float() * (scale / (top * std_))).sub_((mean_ - shift) / std_)


def check_statistics(option: str, values: Any, channels: int) -> Numbers:
    """Check statistics of pixels in [0, 1], one number per channel: none above 1, means not below 0, stds above 0.

    option: its name in messages.
    Raises: ConfigError for other values.
    """
    try:
        floats = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        floats = ()
    if len(floats) != channels or not all(map(math.isfinite, floats)) or (option.endswith("std") and min(floats) <= 0):
        above = ", above 0" if option.endswith("std") else ""
        raise ConfigError(f"{option}={values!r}: expected {channels} finite numbers, one per channel{above}.")
    if min(floats) < 0 or max(floats) > 1:
        raise ConfigError(
            f"{option}={values!r}: expected statistics of pixels in [0, 1]; divide those of pixels up to 255 by 255."
        )
    return floats


def check_pixel_range(first: Tensor) -> None:
    """Reject floats that can't be pixels in [0, 1].

    Raises: DataError that explains how to declare their scale.
    """
    low, high = first.min().item(), first.max().item()
    if low < -SLACK or high > 1 + SLACK:
        raise DataError(
            f"train: sample 0 has values from {low:.3g} to {high:.3g}, but mean, std and normalised=False are for "
            "pixels in [0, 1]: rescale them, or, if the Dataset normalises them, set normalised=(mean, std)."
        )
