"""Preprocessing of images for use outside of a run, identical to that of the run's evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data.decode import DEEP, ImageFile, LoadedImage, to_tensor
from tutelage.data.image_files import centre_crop
from tutelage.data.item_values import describe_value
from tutelage.data.items import to_image
from tutelage.data.scale import Numbers, normalise
from tutelage.errors import DataError


@dataclass(frozen=True)
class Preprocess:
    """Converts an image to a tensor (C, H, W): reads, resizes or crops, and normalises it.

    Args:
        channels: of the tensor.
        size: height and width of the tensor.
        mean, std: per channel, of pixels in [0, 1], or, if not `known`, of floats on the scale of the training data.
        known: whether mean and std refer to pixels in [0, 1].
        side: the height and width to which an image is brought before normalisation; None: unchanged.
        centred: whether to bring it there by cropping its centre, as photos are.
    """

    channels: int
    size: tuple[int, int]
    mean: Numbers
    std: Numbers
    known: bool = True
    side: tuple[int, int] | None = None
    centred: bool = False

    def __call__(self, picture: Any) -> Tensor:
        """Convert a file's path, a PIL image, or a tensor (C, H, W) or array (H, W, C), uint8 or floats in [0, 1].

        Raises: DataError for another type or other channels.
        """
        x = self._pixels(ImageFile(Path(picture)) if isinstance(picture, str | Path) else picture)
        if len(x) != self.channels or not (self.known or x.is_floating_point()):
            kind = "pixels" if self.known else "floats on the scale of the training data, which isn't known"
            raise DataError(
                f"preprocess: got {describe_value(picture)}: expected an image of {self.channels} channels, {kind}."
            )
        if self.side is not None and x.shape[1:] != self.side:
            from torchvision.transforms import functional as TF

            x = TF.resize(x, list(self.side), antialias=True)
        x = normalise(x[None], self.mean, self.std)
        return x[0] if x.shape[2:] == self.size else F.interpolate(x, self.size, mode="bilinear", antialias=True)[0]

    def _pixels(self, picture: Any) -> Tensor:
        """Return (C, H, W); for a photo, its centre."""
        if not isinstance(picture, ImageFile) and (not hasattr(picture, "convert") or picture.mode in DEEP):
            x = _image(picture)
            if not self.centred or x.is_floating_point() or len(x) not in (1, 3):
                return x
            from torchvision.transforms import functional as TF

            picture = TF.to_pil_image(x)
        opened = picture if isinstance(picture, ImageFile) else LoadedImage.from_image(picture)
        if self.centred and self.side is not None:
            return to_tensor(centre_crop(opened, self.channels, self.side))
        return to_tensor(opened.rgb_or_grey(self.channels)[0])


def _image(x: Any) -> Tensor:
    try:
        return to_image(x)
    except DataError as error:
        raise DataError(f"preprocess: the image {error}") from error


@dataclass(frozen=True)
class Standardise:
    """Converts values that aren't images, (C, …) of one sample, to the network's input: (x - mean) / std per channel.

    Args:
        shape: of the values and of the tensor, (C, …).
        mean, std: per channel.
    """

    shape: tuple[int, ...]
    mean: Numbers
    std: Numbers

    def __call__(self, values: Any) -> Tensor:
        """Convert a tensor, array or list of numbers.

        Raises: DataError for another shape, or values that aren't numbers.
        """
        try:
            x = torch.as_tensor(values, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"preprocess: got {describe_value(values)}: expected numbers ({error}).") from error
        if tuple(x.shape) != self.shape:
            raise DataError(f"preprocess: got the shape {tuple(x.shape)}: expected {self.shape}.")
        return normalise(x[None], self.mean, self.std)[0]
