"""Images as their own targets: made smaller, blurred or noisy on the way in, for restoration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data.augment import random_bits
from tutelage.data.data_module import DataModule
from tutelage.data.map_targets import IMAGES, MapForm, unit_scale
from tutelage.data.splits import Sample, Split, ViewSeed
from tutelage.errors import ConfigError, unknown

COLOURS = {len(names): names for names in IMAGES}
STREAM = 2
"""The number of the noise among the draws of random numbers at a sample's address."""


@dataclass(frozen=True)
class Degradation:
    """The degradation of images: a blur, a smaller size and noise, in this order; the result has 8 bits.

    Args:
        scale: how many times smaller, bicubically with antialiasing.
        blur: the standard deviation of a Gaussian blur, in pixels of the large image.
        noise: the standard deviation of Gaussian noise, of 255; drawn at the sample's address, so that training has
            other noise in each view, and a test image always the same.

    Raises: ConfigError for numbers out of range, or if nothing is done.
    """

    scale: int = 1
    blur: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        whole = isinstance(self.scale, int) and not isinstance(self.scale, bool)
        if not whole or not 1 <= self.scale <= 16:
            raise ConfigError(f"degrade: scale={self.scale!r}: expected a whole number from 1 to 16.")
        for name, most in (("blur", 20), ("noise", 255)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
                raise ConfigError(f"degrade: {name}={value!r}: expected a number from 0 to {most}.")
        if (self.scale, self.blur, self.noise) == (1, 0, 0):
            raise ConfigError("degrade does nothing: set scale=2, blur=1 or noise=25, for instance.")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return the degradation of these options.

        Raises: ConfigError for unknown ones.
        """
        known = ("scale", "blur", "noise")
        if faults := [unknown("option of degrade", str(name), known) for name in options if name not in known]:
            raise ConfigError("\n".join(faults))
        return cls(**options)

    def apply(self, clean: Tensor, numbers: Sequence[int], view: ViewSeed) -> Tensor:
        """Return clean images (B, C, H, W) in [0, 1], degraded, uint8."""
        from torchvision.transforms import functional as TF

        x = clean
        if self.blur:
            side = 2 * int(3 * self.blur + 0.5) + 1
            x = TF.gaussian_blur(x, [min(side, 2 * length - 1) for length in x.shape[:1:-1]], [self.blur, self.blur])
        if self.scale > 1:
            shape = [length // self.scale for length in x.shape[2:]]
            x = F.interpolate(x, shape, mode="bicubic", antialias=True, align_corners=False)
        if self.noise:
            x = x + self.noise / 255 * torch.stack([_noise(x.shape[1:], number, view) for number in numbers])
        return x.clamp(0, 1).mul(255).round().byte()


def _noise(shape: torch.Size, number: int, view: ViewSeed) -> Tensor:
    address = random_bits(view.seed, torch.tensor([number]), view.view, STREAM + 1)[0, STREAM]
    return torch.randn(shape, generator=torch.Generator().manual_seed(int(address) % 2**63))


class DegradedSplit(Split):
    """Images with their degraded versions as inputs, and themselves, (C, H, W) in [0, 1], as targets.

    size: the height and width that images are brought to first, multiples of the degradation's scale.
    """

    def __init__(self, samples: Split, degradation: Degradation, size: tuple[int, int]) -> None:
        self.samples, self.degradation, self.size = samples, degradation, size
        self.groups = samples.groups
        self.is_random, self.can_crop = samples.is_random or degradation.noise > 0, samples.can_crop

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of the degraded images."""
        high, wide = (length // self.degradation.scale for length in self.size)
        return high, wide

    def take(self, rows: Tensor) -> Self:
        """Select some of the samples."""
        return type(self)(self.samples.take(rows), self.degradation, self.size)

    def fingerprinted_by(self, content: bool) -> Self:
        """Return the same samples, fingerprinted so."""
        return type(self)(self.samples.fingerprinted_by(content), self.degradation, self.size)

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Yield degraded and clean images; the policies of the view apply to the clean ones, before they are."""
        read = self.samples.read(batches, augmentation, workers)
        for numbers, (images, _) in zip(batches, read, strict=True):
            clean = images if images.is_floating_point() else images.float() / 255
            if tuple(clean.shape[2:]) != self.size:
                clean = F.interpolate(clean, self.size, mode="bilinear", antialias=True)
            yield self.degradation.apply(clean, numbers.tolist(), augmentation), clean

    def fingerprint(self) -> str:
        """Hash the samples' fingerprint and what is done to them."""
        identity = f"{self.samples.fingerprint()} {self.degradation} {self.size}"
        return hashlib.sha256(identity.encode()).hexdigest()


def degraded(data: DataModule, degradation: Degradation) -> DataModule:
    """Return any images as data for restoration: degraded as inputs, and as they were as targets.

    Inputs and targets are pixels in [0, 1], so that a network can begin with the input itself.

    Raises: ConfigError for other inputs than images of 1 or 3 channels in [0, 1], or smaller ones than the scale.
    """
    if data.modality != "image" or data.channels not in COLOURS or data.fields or data.source_scale.kind != "pixels":
        raise ConfigError(
            f"degrade: {data.name} has {data.channels} channels of {data.modality} data ({data.source_scale.kind}): "
            "expected images of 1 or 3 channels, 8 bits or in [0, 1]."
        )
    if data.streams or data.target == "map":
        raise ConfigError(
            f"degrade: {data.name} has {'streams' if data.streams else 'maps as targets'}: leave one out."
        )
    times = degradation.scale
    high, wide = (length // times for length in data.size)
    if not min(high, wide):
        raise ConfigError(f"degrade: scale={times} leaves nothing of images of {data.size}: set another size or scale.")
    size = times * high, times * wide
    splits = {name: DegradedSplit(getattr(data, name), degradation, size) for name in data.splits}
    names = COLOURS[data.channels]
    options = {**data.source_options, "degrade": asdict(degradation), "size": list(data.size)}
    changes: dict[str, Any] = {"task": "restoration", "classes": (), "columns": {}, "target": "map", **splits}
    zeros, ones = (0.0,) * data.channels, (1.0,) * data.channels
    changes |= {"size": (high, wide), "mean": zeros, "std": ones, "values": unit_scale(names)}
    return replace(data, **changes, map_form=MapForm(("value",) * len(names)), source_options=options)
