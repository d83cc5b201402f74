"""What the values of images are as they come, and how they are normalised."""

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
"""So far beyond [0, 1] are pixels that a transform has pushed; what lies further isn't pixels in [0, 1]."""


@dataclass(frozen=True)
class SourceScale:
    """What the values of images are: pixels in [0, 1] (bytes over 255), or floats that are normalised already.

    said: "pixels"; "normalised", by mean and std if these are known; "unsaid" where nobody said which of them.
    """

    said: Literal["pixels", "normalised", "unsaid"] = "pixels"
    mean: Numbers | None = None
    std: Numbers | None = None

    @property
    def known(self) -> bool:
        """Whether it is known what a value is of pixels in [0, 1]."""
        return self.said == "pixels" or self.mean is not None


PIXELS = SourceScale()


@dataclass(frozen=True)
class Scale:
    """How images come, and the mean and deviation, of pixels in [0, 1], that normalise them (None: to be measured)."""

    came: SourceScale = PIXELS
    mean: Numbers | None = None
    std: Numbers | None = None

    @classmethod
    def measured(cls, first: Tensor, pixels: bool, mean: Any, std: Any, normalised: Any) -> Scale:
        """As it is said of a Dataset, of which this is the first image; pixels: whether it is of pixels beyond doubt.

        Raises: ConfigError if what is said doesn't fit together, or not the images.
        """
        channels, floats = len(first), not pixels
        if (mean is None) != (std is None):
            raise ConfigError(f"mean={mean}, std={std}: expected both, or neither.")
        if mean is not None:
            mean, std = numbers("mean", mean, channels), numbers("std", std, channels)
        if normalised is None:
            normalised = None if floats and mean is None else False
        if normalised is None or normalised is True:
            if normalised and (mean is not None or not floats):
                what = "its images are pixels" if not floats else "mean and std are of pixels in [0, 1]"
                raise ConfigError(f"normalised=True: {what}; leave it out, or say normalised=(mean, std).")
            return cls(SourceScale("normalised" if normalised else "unsaid"), (0.0,) * channels, (1.0,) * channels)
        if normalised is False:
            if floats:
                refuse_other(first)
            return cls(PIXELS, mean, std)
        if not floats or not isinstance(normalised, Sequence) or isinstance(normalised, str) or len(normalised) != 2:
            hint = "its images are pixels, leave it out" if not floats else "expected True, False or (mean, std)"
            raise ConfigError(f"normalised={normalised!r}: {hint}.")
        by = tuple(numbers(f"normalised: {w}", v, channels) for w, v in zip(("mean", "std"), normalised, strict=True))
        return cls(SourceScale("normalised", *by), mean or by[0], std or by[1])


def standard(x: Tensor, mean: Numbers, std: Numbers, came: SourceScale = PIXELS) -> Tensor:
    """(pixel - mean) / std; pixels are x/top, top = 255 for uint8 and 1 for float, or what became x."""
    top = 1.0 if x.is_floating_point() else 255.0
    by = came.mean or (0.0,), came.std or (1.0,)
    mean_, std_, shift, scale = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in (mean, std, *by))
    return (x.float() * (scale / (top * std_))).sub_((mean_ - shift) / std_)


def numbers(word: str, values: Any, channels: int) -> Numbers:
    """Of pixels in [0, 1], one number a channel: so none is above 1, means aren't below 0, deviations above it.

    Raises: ConfigError otherwise.
    """
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        found = ()
    if len(found) != channels or not all(map(math.isfinite, found)) or (word.endswith("std") and min(found) <= 0):
        above = ", above 0" if word.endswith("std") else ""
        raise ConfigError(f"{word}={values!r}: expected {channels} finite numbers, one a channel{above}.")
    if min(found) < 0 or max(found) > 1:
        raise ConfigError(
            f"{word}={values!r}: expected those of pixels in [0, 1]; of pixels up to 255, divide them by 255."
        )
    return found


def refuse_other(first: Tensor) -> None:
    """Refuse floats that can't be pixels in [0, 1].

    Raises: DataError that says how to tell what they are.
    """
    low, high = first.min().item(), first.max().item()
    if low < -SLACK or high > 1 + SLACK:
        raise DataError(
            f"train: sample 0 has values from {low:.3g} to {high:.3g}, but mean, std and normalised=False are for "
            "pixels in [0, 1]: bring them there, or, if the Dataset normalises them, say normalised=(mean, std)."
        )
